//! How wasmtime is set up. Everything here that changes compiled code is part of the engine id.

use pvf_shared::{ids::EngineId, params::ExecutorParams};
use std::{
    fmt,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    str::FromStr,
};
use wasmtime::{Config, Engine, OptLevel, ProfilingStrategy, Strategy};

/// wasmtime's version, from the lock file of this build.
const WASMTIME_VERSION: &str = env!("PVF_WASMTIME_VERSION");

/// Changes with what we add to an artifact of wasmtime's.
const ARTIFACT_VERSION: u32 = 1;

/// What CPU features compiled code may use: the x86-64 micro-architecture levels. Set explicitly, because code
/// that was compiled for a richer machine fails on a poorer one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CpuBaseline {
    /// x86-64-v1: every x86-64 machine. On other architectures: the architecture's own baseline.
    V1,
    /// x86-64-v2: SSE4.2, POPCNT (2009).
    V2,
    /// x86-64-v3: AVX2, BMI, FMA, LZCNT (2013).
    V3,
}

impl CpuBaseline {
    /// The richest that this machine has.
    pub fn of_this_machine() -> Self {
        [Self::V3, Self::V2].into_iter().find(|b| b.runs_here()).unwrap_or(Self::V1)
    }

    /// Whether this machine has it.
    pub fn runs_here(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            let v2 = is_x86_feature_detected!("sse4.2") && is_x86_feature_detected!("popcnt");
            let v3 = v2
                && is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("bmi1")
                && is_x86_feature_detected!("bmi2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("lzcnt");
            match self {
                Self::V1 => true,
                Self::V2 => v2,
                Self::V3 => v3,
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            self == Self::V1
        }
    }

    /// Cranelift's names of the features that it adds.
    fn flags(self) -> &'static [&'static str] {
        const V3: [&str; 11] = [
            "has_sse3",
            "has_ssse3",
            "has_sse41",
            "has_sse42",
            "has_popcnt",
            "has_avx",
            "has_avx2",
            "has_fma",
            "has_bmi1",
            "has_bmi2",
            "has_lzcnt",
        ];
        match self {
            Self::V1 => &[],
            Self::V2 => &V3[..5],
            Self::V3 => &V3,
        }
    }
}

impl fmt::Display for CpuBaseline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
            Self::V3 => "v3",
        })
    }
}

impl FromStr for CpuBaseline {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let found = [Self::V1, Self::V2, Self::V3].into_iter().find(|b| b.to_string() == s);
        let found = found.ok_or_else(|| format!("CPU baseline: {s:?} is none of v1, v2, v3"))?;
        if !found.runs_here() {
            return Err(format!("CPU baseline: this machine does not have x86-64-{found}"));
        }
        Ok(found)
    }
}

fn target_triple() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

fn config(params: &ExecutorParams, baseline: CpuBaseline) -> wasmtime::Result<Config> {
    let mut config = Config::new();
    config.target(&target_triple())?;
    for flag in baseline.flags() {
        // SAFETY: wasmtime checks on loading that this machine has every feature that is switched on, and
        // refuses the artifact otherwise.
        unsafe { config.cranelift_flag_enable(flag) };
    }
    config.strategy(Strategy::Cranelift);
    config.cranelift_opt_level(OptLevel::SpeedAndSize);
    config.cranelift_nan_canonicalization(true);
    config.profiler(ProfilingStrategy::None);
    config.max_wasm_stack(params.stack_native_max() as usize);
    config.memory_init_cow(true);
    config.memory_guaranteed_dense_image_size(u64::MAX);
    // Threads are not even compiled in.
    config.collector(wasmtime::Collector::Null);
    config.wasm_function_references(false);
    config.wasm_gc(false);
    config.wasm_reference_types(false);
    config.wasm_relaxed_simd(false);
    config.wasm_simd(false);
    config.wasm_bulk_memory(params.bulk_memory());
    config.wasm_multi_value(false);
    config.wasm_multi_memory(false);
    config.wasm_memory64(false);
    config.wasm_tail_call(false);
    config.wasm_extended_const(false);
    Ok(config)
}

/// The engine for these parameters. Compiles on `threads` threads, or on one if there may be only one.
pub(crate) fn engine(params: &ExecutorParams, baseline: CpuBaseline, threads: u32) -> wasmtime::Result<Engine> {
    let mut config = config(params, baseline)?;
    config.parallel_compilation(threads > 1);
    Engine::new(&config)
}

/// What artifacts of this build on this baseline are compiled for.
pub fn engine_id(baseline: CpuBaseline) -> Result<EngineId, String> {
    let engine = engine(&ExecutorParams::default(), baseline, 1).map_err(|e| format!("{e:#}"))?;
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    ARTIFACT_VERSION.hash(&mut hasher);
    let id = format!("wt{WASMTIME_VERSION}-{}-{baseline}-{:016x}", std::env::consts::ARCH, hasher.finish());
    EngineId::parse(&id).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engine_ids_tell_baselines_apart_and_are_stable() {
        let v1 = engine_id(CpuBaseline::V1).unwrap();
        assert_eq!(v1, engine_id(CpuBaseline::V1).unwrap());
        assert!(v1.as_str().starts_with("wt36."), "{v1}");
        if CpuBaseline::V2.runs_here() {
            assert_ne!(v1, engine_id(CpuBaseline::V2).unwrap());
        }
    }

    #[test]
    fn baselines_parse() {
        assert_eq!("v1".parse::<CpuBaseline>().unwrap(), CpuBaseline::V1);
        assert!("v9".parse::<CpuBaseline>().is_err());
    }
}
