//! An explanation as text. Everything in it is of a process in which guest code ran: it is escaped.

use crate::tool::{text::escaped, usage::time};
use pvf_shared::params::ExecutorParams;
use pvf_worker::{
    explanation::{Explanation, LogLevel, LogLine, MAX_NAME, NamedFrame},
    supervise::Explained,
};
use std::{
    fmt::{self, Write as _},
    time::Duration,
};

/// Host functions that are shown, those that took longest.
const SHOWN_CALLS: usize = 12;
/// Steps of memory growth that are shown.
const SHOWN_STEPS: usize = 8;

/// The lines of an explanation.
pub(crate) fn lines(explained: &Explained, params: &ExecutorParams, level: LogLevel) -> Vec<String> {
    let mut out = vec!["diagnostic run on this machine (not the verdict):".to_owned()];
    match explained {
        Explained::NotPrepared(error) => out.push(format!("  the code cannot be prepared: {}", escaped(error))),
        Explained::Ended { why, log } => {
            out.push(format!("  it did not come to its end: {}", escaped(why)));
            if !log.is_empty() {
                out.push("  the end of its log (the guest's own words):".into());
                out.extend(log.lines().map(|line| format!("    | {}", escaped(line))));
            }
        }
        Explained::Called(explanation) => out.extend(called(explanation, params, level)),
    }
    out
}

fn called(of: &Explanation, params: &ExecutorParams, level: LogLevel) -> Vec<String> {
    let mut out = vec![match &of.outcome {
        Ok(()) => "  the guest returned a result".to_owned(),
        Err(why) => format!("  the guest failed: {}", escaped(why)),
    }];
    if of.log.is_empty() {
        out.push(format!("  the guest logged nothing at level {level} or above"));
    } else {
        out.push(format!("  guest log, {level} and above (the guest's own words):"));
        out.extend(of.log.iter().flat_map(log_lines));
        if of.log_dropped > 0 {
            out.push(format!("    ({} more messages in the middle are not kept)", of.log_dropped));
        }
    }
    if !of.frames.is_empty() {
        out.push("  backtrace, the innermost call first:".into());
        out.extend(of.frames.iter().enumerate().map(|(n, frame)| format!("    #{n} {}", shown_frame(frame))));
        let more = (of.frames_total as usize).saturating_sub(of.frames.len());
        if more > 0 {
            out.push(format!("    … and {more} more"));
        }
    }
    out.extend(host_calls(of));
    out.extend(memory(of, params));
    if let Some(height) = of.stack_height {
        let limit = params.stack_logical_max();
        out.push(format!("  logical stack: at least {height} of {limit} values"));
    }
    out.push(format!("  CPU of the watched call: {} (watching costs some of it)", time(of.cpu)));
    out
}

/// A message. Each of its lines begins with a bar: what a guest logs cannot begin a line, which some readers of logs
/// take for a command.
pub(crate) fn log_lines(line: &LogLine) -> Vec<String> {
    let head = format!("    | {:<5} {}: ", line.level.to_string(), escaped(&line.target));
    let mut lines = line.message.trim_end().split('\n').map(escaped);
    let first = format!("{head}{}", lines.next().unwrap_or_default());
    [first].into_iter().chain(lines.map(|line| format!("    |       {line}"))).collect()
}

/// A frame: the function's name as in its source, or its index.
pub(crate) fn shown_frame(frame: &NamedFrame) -> String {
    let place = format!("function {} +{:#x}", frame.function, frame.offset);
    match &frame.name {
        Some(name) => format!("{} ({place})", escaped(&demangled(name))),
        None => place,
    }
}

/// The name as in the source, at most [`MAX_NAME`] bytes of it: names can be short for very long ones.
pub(super) fn demangled(name: &str) -> String {
    let mut out = Limited(String::new());
    // Fails when it is full.
    let complete = write!(out, "{:#}", rustc_demangle::demangle(name)).is_ok();
    if complete { out.0 } else { out.0 + "…" }
}

struct Limited(String);

impl fmt::Write for Limited {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let fits = text.floor_char_boundary(MAX_NAME.saturating_sub(self.0.len()));
        self.0.push_str(&text[..fits]);
        if fits < text.len() { Err(fmt::Error) } else { Ok(()) }
    }
}

fn host_calls(of: &Explanation) -> Vec<String> {
    let calls = of.host_calls.iter().fold(0_u64, |sum, of| sum.saturating_add(of.count));
    let all = of.host_calls.iter().fold(Duration::ZERO, |sum, of| sum.saturating_add(of.time));
    let mut out = vec![format!("  host calls: {calls} of {} functions, {}", of.host_calls.len(), time(all))];
    for of in of.host_calls.iter().take(SHOWN_CALLS) {
        out.push(format!("    {:<50} {:>9} calls {:>10}", escaped(&of.name), of.count, time(of.time)));
    }
    let more = of.host_calls.len().saturating_sub(SHOWN_CALLS);
    if more > 0 {
        out.push(format!("    … and {more} more functions"));
    }
    out
}

fn memory(of: &Explanation, params: &ExecutorParams) -> Vec<String> {
    let Some(pages) = of.memory_pages else { return vec![] };
    let mut line = format!("  guest memory: {pages} of {} pages at the end", params.memory_page_limit());
    if of.memory.len() > 1 {
        let steps = of.memory.iter().take(SHOWN_STEPS).map(|step| format!("{} after {}", step.pages, time(step.after)));
        let more = if of.memory.len() > SHOWN_STEPS { ", …" } else { "" };
        line += &format!("; seen: {}{more}", steps.collect::<Vec<_>>().join(", "));
    }
    vec![line]
}

#[cfg(test)]
mod tests {
    use super::*;
    use pvf_worker::explanation::{HostCalls, MemoryStep};

    #[test]
    fn an_explanation_is_shown_and_cannot_change_the_terminal() {
        let line =
            |message: &str| LogLine { level: LogLevel::Error, target: "run\x1btime".into(), message: message.into() };
        let frame = |name: Option<&str>| NamedFrame { function: 7, offset: 16, name: name.map(str::to_owned) };
        let explanation = Explanation {
            outcome: Err("wasm `unreachable`".into()),
            log: vec![line("panicked\x1b[2J\nsecond line")],
            log_dropped: 2,
            frames: vec![frame(Some("_ZN4core3fmt5write17h0123456789abcdefE")), frame(None)],
            frames_total: 5,
            host_calls: vec![HostCalls { name: "ext_\u{202e}".into(), count: 3, time: Duration::from_millis(2) }],
            memory: [20, 40].map(|pages| MemoryStep { after: Duration::from_millis(1), pages }).into(),
            memory_pages: Some(40),
            stack_height: Some(99),
            ..Explanation::default()
        };
        let text =
            lines(&Explained::Called(Box::new(explanation)), &ExecutorParams::default(), LogLevel::Info).join("\n");
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()) && !text.contains('\u{202e}'), "{text}");
        for part in [
            "| error run\\u{1b}time: panicked\\u{1b}[2J\n    |       second line",
            "(2 more messages",
            "#0 core::fmt::write (function 7 +0x10)",
            "#1 function 7 +0x10",
            "… and 3 more",
            "host calls: 3 of 1 functions, 2 ms",
            "guest memory: 40 of 2080 pages at the end; seen: 20 after 1 ms, 40 after 1 ms",
            "at least 99 of 65536 values",
        ] {
            assert!(text.contains(part), "{part:?} is not in:\n{text}");
        }
        let ended = Explained::Ended { why: "killed\x07".into(), log: "a\nb\x1b".into() };
        let text = lines(&ended, &ExecutorParams::default(), LogLevel::Info).join("\n");
        assert!(text.contains("killed\\u{7}") && text.contains("    | b\\u{1b}"), "{text}");
    }
}
