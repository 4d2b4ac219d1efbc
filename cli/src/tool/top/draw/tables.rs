//! The workers and the requests.

use super::{Look, line};
use crate::tool::{
    ago::{self, short_hash},
    api::{model::Worker, workers::note},
    text::escaped,
    top::state::State,
};
use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    text::Line,
    widgets::{Paragraph, Row, Table, TableState, Wrap},
};

/// Lines for the selected worker.
const DETAILS: u16 = 5;

/// A column: its name and its width.
type Column = (&'static str, Constraint);

const WORKERS: [Column; 7] = [
    ("KIND", Constraint::Length(7)),
    ("STATE", Constraint::Length(9)),
    ("SLOTS", Constraint::Length(7)),
    ("STAGED", Constraint::Length(6)),
    ("   HEARD", Constraint::Length(8)),
    ("HOST", Constraint::Length(14)),
    ("NOTE", Constraint::Min(10)),
];

const REQUESTS: [Column; 7] = [
    ("     AGE", Constraint::Length(8)),
    ("ASKED", Constraint::Length(14)),
    ("STATE", Constraint::Length(17)),
    ("    TIME", Constraint::Length(8)),
    ("TRIES", Constraint::Length(5)),
    ("CODE", Constraint::Length(13)),
    ("HOST", Constraint::Min(8)),
];

pub(super) fn workers(frame: &mut Frame<'_>, area: Rect, state: &mut State, look: Look) {
    let workers = &state.answers.workers;
    let shown = workers.len();
    let total = state.answers.workers_total.max(shown as u64);
    let heights = [Constraint::Length(1), Constraint::Min(0), Constraint::Length(DETAILS)];
    let [title, rows, details] = Layout::vertical(heights).areas(area);
    let count = if shown as u64 == total { format!("{total} workers") } else { format!("{shown} of {total} workers") };
    line(frame, title, Line::styled(count, look.title()));
    let cells = workers.iter().map(|worker| {
        let slots = format!("{:>3}/{}", worker.running, worker.slots);
        let (staged, heard) = (format!("{:>6}", worker.staged), format!("{:>8}", ago::millis(worker.heard_ms_ago)));
        [worker.kind.clone(), worker.state.clone(), slots, staged, heard, worker.host.clone(), note(worker)]
    });
    let table = table(cells, WORKERS, look);
    frame.render_stateful_widget(table, rows, &mut state.workers);
    let selected = state.workers.selected().and_then(|at| workers.get(at));
    let lines = selected.map_or_else(|| vec!["select a worker to see more of it".into()], described);
    let lines: Vec<_> = lines.into_iter().map(Line::raw).collect();
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: true }), details);
}

/// What the columns have no room for.
fn described(worker: &Worker) -> Vec<String> {
    let keys = match &worker.signs_with {
        Some(key) => format!("signs artifacts with key {key}"),
        None => format!("trusts artifacts of keys {}", worker.trusts.join(", ")),
    };
    let note = note(worker);
    let note = if note.is_empty() { "sandbox complete, no trouble".to_owned() } else { note };
    let engine = format!("version {}, engine {}", worker.version, worker.engine);
    [worker.id.clone(), engine, keys, note].iter().map(|text| escaped(text)).collect()
}

pub(super) fn requests(frame: &mut Frame<'_>, area: Rect, state: &mut State, look: Look) {
    let now = state.answers.status.at_ms;
    let [title, rows] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
    let shown = format!("requests: {} (f for others)", state.filter.name().unwrap_or("all"));
    line(frame, title, Line::styled(shown, look.title()));
    let cells = state.answers.requests.iter().map(|request| {
        [
            format!("{:>8}", ago::between(request.ended_ms.or(request.arrived_ms), now)),
            request.asked().to_owned(),
            request.stage(),
            format!("{:>8}", ago::millis(request.taken_ms(now))),
            format!("{:>5}", request.attempts),
            short_hash(&request.code),
            request.host.clone().unwrap_or_default(),
        ]
    });
    let table = table(cells, REQUESTS, look);
    frame.render_stateful_widget::<Table<'_>>(table, rows, &mut state.requests as &mut TableState);
}

/// A table of text that came from other machines.
fn table<const N: usize>(cells: impl Iterator<Item = [String; N]>, columns: [Column; N], look: Look) -> Table<'static> {
    let rows = cells.map(|cells| Row::new(cells.map(|cell| escaped(&cell))));
    let header = Row::new(columns.map(|(name, _)| name)).style(look.title());
    let widths = columns.map(|(_, width)| width);
    Table::new(rows, widths).header(header).row_highlight_style(look.selected())
}
