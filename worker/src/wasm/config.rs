//! wasmtime's configuration, and the engine id, which names everything that determines the bytes of an artifact.

use super::hashed_bytes::HashedBytes;
use pvf_shared::{
    ids::{EngineId, blake2b_256},
    params::ExecutorParams,
};
use std::{fmt, hash::Hash as _, str::FromStr};
use wasmtime::{Config, Engine, OptLevel, ProfilingStrategy, Strategy};

/// wasmtime's version in the lock file of this build.
const WASMTIME_VERSION: &str = env!("PVF_WASMTIME_VERSION");

/// Version of everything about an artifact that wasmtime's own hash does not cover: the instrumentation, the layout of
/// the memory image, the sealed form, and the derivation of the engine id itself. Increment it when one of these
/// changes.
const ARTIFACT_VERSION: u32 = 3;

/// The largest limit of the logical stack with which the frames of a trap are recorded, values. A call takes at least
/// two, so there are at most half as many frames, which take some 10 MiB and 30 ms at most. Those of a larger stack
/// that is used up could take more memory and time than a job may have. No verdict shows frames.
const MAX_TRACED_STACK: u32 = 131_072;

/// CPU features that compiled code may use: an x86-64 micro-architecture level. Explicit, because a machine rejects an
/// artifact that uses features which the machine does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CpuBaseline {
    /// x86-64-v1: every x86-64 machine. On other architectures, the architecture's baseline.
    V1,
    /// x86-64-v2: SSE4.2, POPCNT (2009).
    V2,
    /// x86-64-v3: AVX2, BMI, FMA, LZCNT (2013).
    V3,
}

impl CpuBaseline {
    /// The highest level that this machine supports.
    pub fn of_this_machine() -> Self {
        [Self::V3, Self::V2].into_iter().find(|b| b.runs_here()).unwrap_or(Self::V1)
    }

    /// Whether this machine supports the level.
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

    /// Cranelift's names of the features that the level adds to V1.
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
        let found = found.ok_or_else(|| format!("unknown CPU baseline {s:?}, expected v1, v2 or v3"))?;
        if !found.runs_here() {
            return Err(format!("this machine does not support CPU baseline {found} (x86-64-{found})"));
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
        // SAFETY: when wasmtime loads an artifact it verifies that the machine has every enabled feature, and rejects
        // the artifact otherwise.
        unsafe { config.cranelift_flag_enable(flag) };
    }
    config.strategy(Strategy::Cranelift);
    config.cranelift_opt_level(OptLevel::SpeedAndSize);
    config.cranelift_nan_canonicalization(true);
    config.profiler(ProfilingStrategy::None);
    config.max_wasm_stack(params.stack_native_max() as usize);
    config.wasm_backtrace(params.stack_logical_max() <= MAX_TRACED_STACK);
    config.memory_init_cow(true);
    config.memory_guaranteed_dense_image_size(u64::MAX);
    // The threads proposal has no line here: it is not compiled in.
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

/// The engine for these parameters. It compiles on rayon's current thread pool if `threads` is more than 1, and on the
/// calling thread otherwise.
pub(crate) fn engine(params: &ExecutorParams, baseline: CpuBaseline, threads: u32) -> wasmtime::Result<Engine> {
    let mut config = config(params, baseline)?;
    config.parallel_compilation(threads > 1);
    Engine::new(&config)
}

/// As [`engine`], for a call that is watched in the process that compiles: with frames whatever the limit of the stack,
/// and without memory files, which the sandbox of that process does not allow.
pub(super) fn engine_to_watch(
    params: &ExecutorParams,
    baseline: CpuBaseline,
    threads: u32,
) -> wasmtime::Result<Engine> {
    let mut config = config(params, baseline)?;
    config.parallel_compilation(threads > 1);
    config.wasm_backtrace(true);
    config.memory_init_cow(false);
    Engine::new(&config)
}

/// The engines that a machine of this baseline can compile for: its own, and those of lower baselines.
pub fn engines_up_to(baseline: CpuBaseline) -> Result<Vec<(EngineId, CpuBaseline)>, String> {
    #[cfg(target_arch = "x86_64")]
    let all = [CpuBaseline::V3, CpuBaseline::V2, CpuBaseline::V1];
    #[cfg(not(target_arch = "x86_64"))]
    let all = [CpuBaseline::V1];
    all.into_iter().filter(|lower| *lower <= baseline).map(|lower| Ok((engine_id(lower)?, lower))).collect()
}

/// The id of the engine that this build compiles artifacts for on this baseline. It is a function of wasmtime's version
/// and configuration and of `ARTIFACT_VERSION`, and does not depend on the hash algorithm of the standard library.
pub fn engine_id(baseline: CpuBaseline) -> Result<EngineId, String> {
    let engine = engine(&ExecutorParams::default(), baseline, 1).map_err(|e| format!("{e:#}"))?;
    let mut compatibility = HashedBytes::default();
    engine.precompile_compatibility_hash().hash(&mut compatibility);
    let digest = blake2b_256(&[compatibility.bytes(), &ARTIFACT_VERSION.to_le_bytes()]);
    let hash: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let id = format!("wt{WASMTIME_VERSION}-{}-{baseline}-{hash}", std::env::consts::ARCH);
    EngineId::parse(&id).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The id is the prefix of every artifact key, so a fleet whose id changes prepares all its artifacts anew.
    ///
    /// This test fails if
    /// * wasmtime, its configuration or [`ARTIFACT_VERSION`] changed on purpose: enter the new ids here;
    /// * only the toolchain changed: keep the ids, and adapt [`HashedBytes`] to what `Hash` feeds to a hasher now.
    #[test]
    #[cfg(target_arch = "x86_64")]
    fn engine_ids_are_pinned() {
        let ids = [CpuBaseline::V1, CpuBaseline::V2, CpuBaseline::V3].map(|baseline| engine_id(baseline).unwrap());
        assert_eq!(
            ids.each_ref().map(EngineId::as_str),
            [
                "wt36.0.20-x86_64-v1-48476ec8408dbcc6",
                "wt36.0.20-x86_64-v2-de8b3857b7ec7fa1",
                "wt36.0.20-x86_64-v3-8f4d71b115322584"
            ],
            "the engine id changed: see the documentation of this test",
        );
    }

    #[test]
    fn baselines_parse_as_they_are_displayed() {
        for baseline in [CpuBaseline::V1, CpuBaseline::V2, CpuBaseline::V3] {
            let parsed = baseline.to_string().parse::<CpuBaseline>();
            assert_eq!(parsed.ok(), baseline.runs_here().then_some(baseline));
        }
        assert!("v9".parse::<CpuBaseline>().unwrap_err().contains("v9"));
    }
}
