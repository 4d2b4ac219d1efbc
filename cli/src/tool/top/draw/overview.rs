//! Slots, queues, and what has happened.

use super::{Look, line};
use crate::tool::{
    ago::{self, UNKNOWN},
    api::workers::note,
    text::escaped,
    top::answers::Answers,
};
use pvf_shared::units::human_bytes;
use ratatui::{
    Frame,
    layout::Rect,
    text::{Line, Span},
};

/// Width of the bar of used slots, characters.
const BAR: usize = 24;
/// Intervals of the history that are shown.
const INTERVALS: usize = 40;
/// The queues: their names, and those in answers.
const PREPARE: [&str; 3] = ["critical", "normal", "background"];
const EXECUTE: [&str; 4] = ["dispute", "approval", "backing_system", "backing"];

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, (answers, look): (&Answers, Look)) {
    let mut lines = slots(answers);
    lines.push(Line::default());
    lines.extend(queues(answers, look));
    lines.push(Line::default());
    lines.extend(history(answers));
    lines.extend(facts(answers));
    let room = usize::from(area.height).saturating_sub(lines.len());
    let problems = fitting(problems(answers), room).into_iter();
    let width = usize::from(area.width);
    lines.extend(problems.map(|problem| Line::styled(shortened(&problem, width), look.warning())));
    for (row, text) in area.rows().zip(lines) {
        line(frame, row, text);
    }
}

fn slots(answers: &Answers) -> Vec<Line<'static>> {
    let of = &answers.status;
    let prepare = ("prepare", of.prepare_workers, of.prepare_busy, of.prepare_slots);
    let execute = ("execute", of.execute_workers, of.execute_busy, of.execute_slots);
    let row = |(kind, workers, busy, slots): (&str, u64, u64, u64)| {
        let filled = (busy.min(slots) as f64 / slots.max(1) as f64 * BAR as f64).round() as usize;
        let bar = format!("[{:.<BAR$}]", "#".repeat(filled));
        Line::raw(format!("{kind}  {workers} workers  {bar}  {busy} of {slots} slots busy"))
    };
    [prepare, execute].map(row).into()
}

fn queues(answers: &Answers, look: Look) -> Vec<Line<'static>> {
    let of = &answers.status;
    let header = format!("{:<24}{:>9}{:>10}{:>8}{:>13}", "QUEUE", "WAITING", "OLDEST", "SHARE", "DISPATCHED");
    let row = |kind: &str, name: &str, [waiting, oldest, share, selected]: [String; 4]| {
        let name = format!("{kind} {}", name.replace('_', "-"));
        Line::raw(format!("{name:<24}{waiting:>9}{oldest:>10}{share:>8}{selected:>13}"))
    };
    let number = |number: Option<&u64>| number.copied().unwrap_or_default().to_string();
    let oldest = |ms: Option<&Option<f64>>| ago::millis(ms.copied().flatten());
    let prepare = PREPARE.map(|name| {
        let (waiting, oldest) = (number(of.prepare_queue.get(name)), oldest(of.prepare_oldest_ms.get(name)));
        row("prepare", name, [waiting, oldest, String::new(), String::new()])
    });
    let execute = EXECUTE.map(|name| {
        let share = of.shares.percent.get(name).map(|percent| format!("{percent} %")).unwrap_or_default();
        let selected = of.execute_selected.get(name).map(|count| grouped(*count)).unwrap_or_default();
        let (waiting, oldest) = (number(of.execute_queue.get(name)), oldest(of.execute_oldest_ms.get(name)));
        row("execute", name, [waiting, oldest, share, selected])
    });
    std::iter::once(Line::styled(header, look.title())).chain(prepare).chain(execute).collect()
}

/// The last intervals, the newest one as a number.
fn history(answers: &Answers) -> Vec<Line<'static>> {
    let samples = &answers.samples[answers.samples.len().saturating_sub(INTERVALS)..];
    let seconds = (answers.sample_ms / 1e3).max(0.001);
    let rates: Vec<_> = samples.iter().map(|sample| sample.all_verdicts() as f64 / seconds).collect();
    let p99: Vec<_> = samples.iter().map(|sample| sample.p99_ms().unwrap_or_default()).collect();
    let cores: Vec<_> = samples.iter().map(|sample| sample.cpu_ms / 1e3 / seconds).collect();
    let row = |name: &str, values: &[f64], last: Option<String>| {
        let last = last.unwrap_or_else(|| UNKNOWN.into());
        Line::from(vec![Span::raw(format!("{name:<16}{last:>12}  ")), Span::raw(spark(values))])
    };
    vec![
        row("verdicts", &rates, rates.last().map(|rate| format!("{rate:.1}/s"))),
        row("p99 of total", &p99, samples.last().map(|sample| ago::millis(sample.p99_ms()))),
        row("CPU of jobs", &cores, cores.last().map(|cores| format!("{cores:.1} cores"))),
    ]
}

/// A column for each value; the highest value is as high as a line.
fn spark(values: &[f64]) -> String {
    const LEVELS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let highest = values.iter().copied().fold(0.0, f64::max);
    let level = |value: &f64| match highest > 0.0 && *value > 0.0 {
        true => LEVELS[((value / highest * 8.0).ceil() as usize).clamp(1, 8)],
        false => LEVELS[0],
    };
    values.iter().map(level).collect()
}

fn facts(answers: &Answers) -> Vec<Line<'static>> {
    let of = &answers.status;
    let (memory, artifacts) = (human_bytes(of.request_bytes), human_bytes(of.artifact_bytes));
    [
        format!("requests     {} open of {} clients, {memory} in memory", of.requests, of.clients),
        format!("artifacts    {}, {artifacts}", of.artifacts),
        format!(
            "since start  {} preparations, {} executions, {} coalesced, {} overloaded",
            grouped(of.prepared),
            grouped(of.executed),
            grouped(of.coalesced),
            grouped(of.overloaded)
        ),
    ]
    .map(Line::raw)
    .into()
}

/// What an operator should look into, the worst first.
fn problems(answers: &Answers) -> Vec<String> {
    let of = &answers.status;
    let mut problems = Vec::new();
    if of.inconsistencies > 0 {
        problems.push(format!("{} inconsistencies in the coordinator's state: see its log", of.inconsistencies));
    }
    let engines = of.not_compiled_for.iter().map(|engine| format!("no prepare worker for engine {}", escaped(engine)));
    problems.extend(engines);
    let troubled = answers.workers.iter().filter_map(|worker| {
        let note = note(worker);
        (!note.is_empty()).then(|| format!("{} on {}: {}", worker.kind, escaped(&worker.host), escaped(&note)))
    });
    problems.extend(troubled);
    problems
}

/// The first ones, and how many there are beyond the room for them.
fn fitting(mut problems: Vec<String>, room: usize) -> Vec<String> {
    if problems.len() > room {
        let beyond = problems.len() - room.saturating_sub(1);
        problems.truncate(room.saturating_sub(1));
        problems.push(format!("and {beyond} more problems"));
    }
    problems
}

/// At most so many characters of a text. What is cut is in the middle: the cause is at the end.
fn shortened(text: &str, width: usize) -> String {
    let chars: Vec<char> = text.chars().collect();
    if chars.len() <= width {
        return text.into();
    }
    let Some(kept) = width.checked_sub(1) else { return String::new() };
    let (start, end) = (kept - kept / 2, kept / 2);
    chars[..start].iter().chain(&['…']).chain(&chars[chars.len() - end..]).collect()
}

/// `1,203`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_values_are_columns() {
        assert_eq!([0, 999, 1203, 1_000_000].map(grouped), ["0", "999", "1,203", "1,000,000"]);
        assert_eq!(spark(&[0.0, 1.0, 4.0, 8.0, 0.1]), " ▁▄█▁");
        assert_eq!(spark(&[0.0, f64::NAN]), "  ");
        let text = "cannot store the artifact: No space left on device (os error 28)";
        assert_eq!(shortened(text, 30), "cannot store th… (os error 28)");
        assert_eq!((shortened(text, 80), shortened(text, 0)), (text.into(), String::new()));
        let problems = |count: usize, room| fitting(vec!["a".into(); count], room);
        assert_eq!(problems(3, 3), ["a", "a", "a"]);
        assert_eq!(problems(4, 3), ["a", "a", "and 2 more problems"]);
        assert_eq!(problems(4, 0), ["and 4 more problems"], "what has no room is cut off");
    }
}
