//! What workers kept of the jobs behind a verdict, as text and as JSON. Log and names are an untrusted party's, so
//! control characters are escaped.

use crate::tool::text::{escaped, escaped_lines};
use pvf_shared::{
    bundle::{Bundle, JobNote},
    record::Frame,
};
use pvf_worker::wasm::decompress_code;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use wasmparser::{KnownCustom, Name, Parser, Payload};

/// Longest name of a function that is shown, characters.
const MAX_NAME: usize = 120;

/// Names of the functions in a bundle's backtraces, by the code's own name section.
pub(crate) struct Names(BTreeMap<u32, String>);

impl Names {
    pub(crate) fn of(bundle: &Bundle) -> Self {
        let frames = bundle.notes.jobs.iter().filter_map(|job| job.record.as_ref()).flat_map(|of| &of.backtrace.frames);
        let mut wanted: BTreeMap<u32, String> = frames.map(|frame| (frame.function, String::new())).collect();
        if !wanted.is_empty()
            && let Ok(code) = decompress_code(&bundle.code, bundle.code_bomb_limit)
        {
            read_names(&code, &mut wanted);
        }
        wanted.retain(|_, name| !name.is_empty());
        Self(wanted)
    }

    fn of_frame(&self, frame: &Frame) -> Option<&str> {
        self.0.get(&frame.function).map(String::as_str)
    }
}

/// Names the wanted functions, as far as the code does. Code that does not parse has no names.
fn read_names(code: &[u8], wanted: &mut BTreeMap<u32, String>) {
    for payload in Parser::new(0).parse_all(code) {
        let Ok(payload) = payload else { return };
        let Payload::CustomSection(section) = payload else { continue };
        let KnownCustom::Name(names) = section.as_known() else { continue };
        for names in names {
            let Ok(Name::Function(functions)) = names else { continue };
            for naming in functions.into_iter().map_while(Result::ok) {
                if let Some(name) = wanted.get_mut(&naming.index) {
                    *name = escaped(&naming.name.chars().take(MAX_NAME).collect::<String>());
                }
            }
        }
    }
}

/// The jobs as JSON.
pub(crate) fn to_json(bundle: &Bundle) -> Value {
    let names = Names::of(bundle);
    let frame =
        |frame: &Frame| json!({"function": frame.function, "name": names.of_frame(frame), "offset": frame.offset});
    let job = |job: &JobNote| {
        let record = job.record.as_ref();
        json!({
            "attempt": job.attempt,
            "worker": job.worker.to_string(),
            "host": record.map(|of| &of.host),
            "version": record.map(|of| &of.version),
            "engine": record.map(|of| of.engine.to_string()),
            "log": record.map(|of| &of.log),
            "backtrace": record.map(|of| of.backtrace.frames.iter().map(frame).collect::<Vec<_>>()),
            "frames": record.map(|of| of.backtrace.total),
            "missing": job.missing,
        })
    };
    bundle.notes.jobs.iter().map(job).collect()
}

/// The jobs as text: for each a line, and behind it its log and backtrace.
pub(crate) fn lines(bundle: &Bundle) -> Vec<String> {
    let names = Names::of(bundle);
    bundle.notes.jobs.iter().flat_map(|job| of_job(job, &names)).collect()
}

/// Log and backtrace of the job that decided the outcome.
pub(crate) fn deciding(bundle: &Bundle) -> Vec<String> {
    let names = Names::of(bundle);
    bundle.deciding_job().map(|job| details(job, &names)).unwrap_or_default()
}

fn of_job(job: &JobNote, names: &Names) -> Vec<String> {
    let what = match job.attempt {
        Some(attempt) => format!("attempt {attempt}"),
        None => "preparation".into(),
    };
    let mut lines = vec![match (&job.record, &job.missing) {
        (Some(of), _) => {
            let (host, version) = (escaped(&of.host), escaped(&of.version));
            format!("{what} by {} on {host}, version {version}, engine {}", job.worker, of.engine)
        }
        (None, Some(why)) => format!("{what} by {}, no record: {}", job.worker, escaped(why)),
        (None, None) => format!("{what} by {}, no record", job.worker),
    }];
    lines.extend(details(job, names));
    lines
}

fn details(job: &JobNote, names: &Names) -> Vec<String> {
    let Some(record) = &job.record else { return vec![] };
    let mut lines = Vec::new();
    if !record.log.is_empty() {
        lines.push("  log:".to_owned());
        lines.extend(escaped_lines(record.log.trim_end()).lines().map(|line| format!("    {line}")));
    }
    let backtrace = &record.backtrace;
    if !backtrace.frames.is_empty() {
        lines.push("  backtrace:".to_owned());
        lines.extend(backtrace.frames.iter().enumerate().map(|(n, frame)| {
            let name = names.of_frame(frame).map(|name| format!(" {name}")).unwrap_or_default();
            format!("    {n}: function {}{name} at 0x{:x}", frame.function, frame.offset)
        }));
        let more = (backtrace.total as usize).saturating_sub(backtrace.frames.len());
        if more > 0 {
            lines.push(format!("    and {more} more frames"));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_named_by_the_code() {
        let code = wat::parse_str("(module (func $first) (func (call $first)) (func $third))").unwrap();
        let mut wanted: BTreeMap<u32, String> = (0..4).map(|n| (n, String::new())).collect();
        read_names(&code, &mut wanted);
        assert_eq!(wanted.into_values().collect::<Vec<_>>(), ["first", "", "third", ""]);
    }

    #[test]
    fn code_that_does_not_parse_has_no_names() {
        let mut wanted = BTreeMap::from([(0, String::new())]);
        read_names(b"\0asm\x01\0\0\0\x00\xff\xff", &mut wanted);
        assert_eq!(wanted[&0], "");
    }
}
