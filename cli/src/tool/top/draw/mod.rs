//! Draws the state. Every page fits 80 columns and 24 lines; what is more is cut off.

mod overlay;
mod overview;
mod tables;

use super::{
    args::Page,
    state::{Overlay, State},
};
use crate::tool::{ago, text::escaped};
use ratatui::{
    Frame, Terminal,
    backend::TestBackend,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::Paragraph,
};

/// How parts are set off. Without colours by weight alone.
#[derive(Debug, Clone, Copy)]
struct Look {
    with_colours: bool,
}

impl Look {
    fn title(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    fn warning(self) -> Style {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        if self.with_colours { bold.fg(Color::Yellow) } else { bold }
    }

    fn quiet(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }
}

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, state: &mut State) {
    let look = Look { with_colours: state.with_colours };
    let rows = [Constraint::Length(1), Constraint::Length(1), Constraint::Min(0), Constraint::Length(1)];
    let [head, tabs, body, foot] = Layout::vertical(rows).areas(frame.area());
    line(frame, head, heading(state, look));
    line(frame, tabs, pages(state.page, look));
    match state.page {
        Page::Overview => overview::draw(frame, body, (&state.answers, look)),
        Page::Workers => tables::workers(frame, body, state, look),
        Page::Requests => tables::requests(frame, body, state, look),
    }
    line(frame, foot, footing(state, look));
    match &state.overlay {
        None => {}
        Some(Overlay::Help) => overlay::help(frame, look),
        Some(Overlay::Waiting(id)) => overlay::lines(frame, &[format!("asking for request {id}")], 0),
        Some(Overlay::Lines(lines)) => overlay::lines(frame, lines, state.scrolled),
    }
}

fn line(frame: &mut Frame<'_>, area: Rect, line: Line<'_>) {
    frame.render_widget(Paragraph::new(line), area);
}

fn heading(state: &State, look: Look) -> Line<'static> {
    let status = &state.answers.status;
    let up = ago::between(status.started_ms, status.at_ms);
    let (fleet, version, token) = (&state.fleet, escaped(&status.version), status.token);
    Line::from(vec![
        Span::styled(format!("fleet {fleet}"), look.title()),
        Span::raw(format!("  coordinator {version}, token {token}, up {up}")),
    ])
}

fn pages(shown: Page, look: Look) -> Line<'static> {
    let title = |page: Page| {
        let style = if page == shown { look.selected() } else { look.quiet() };
        [Span::styled(format!(" {} ", page.title()), style), Span::raw(" ")]
    };
    Line::from_iter(Page::ALL.into_iter().flat_map(title))
}

fn footing(state: &State, look: Look) -> Line<'static> {
    match &state.trouble {
        Some(why) => Line::styled(format!("old, no answer: {}", escaped(why)), look.warning()),
        None => Line::styled("q quit  tab next page  arrows select  f filter  enter why  ? help", look.quiet()),
    }
}

/// One page as text.
pub(super) fn text(state: &mut State, (width, height): (u16, u16)) -> Vec<String> {
    let Ok(mut terminal) = Terminal::new(TestBackend::new(width, height));
    let Ok(_) = terminal.draw(|frame| draw(frame, state));
    let buffer = terminal.backend().buffer();
    let cell = |x: u16, y: u16| buffer.cell((x, y)).map_or(" ", |cell| cell.symbol());
    (0..height).map(|y| (0..width).map(|x| cell(x, y)).collect::<String>().trim_end().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::answers::Answers, *};
    use crate::tool::api::{
        model::{Request, Worker},
        part,
    };
    use serde_json::json;

    /// A fleet that has something of everything.
    pub(super) fn busy() -> Answers {
        let queue = |name: &str| json!({name: 3});
        let status = json!({
            "at_ms": 7_300_000, "started_ms": 100_000, "version": "0.1.0", "token": 7,
            "prepare_workers": 2, "prepare_slots": 2, "prepare_busy": 1,
            "execute_workers": 4, "execute_slots": 16, "execute_busy": 12,
            "requests": 31, "request_bytes": 1_048_576, "clients": 3, "prepare_queue": queue("critical"),
            "execute_queue": queue("backing_system"), "execute_oldest_ms": {"backing_system": 1500, "dispute": null},
            "execute_selected": {"backing_system": 1203}, "shares": {"percent": {"dispute": 70}},
            "artifacts": 45, "artifact_bytes": 1 << 30, "prepared": 46, "executed": 120_304, "coalesced": 9,
            "overloaded": 2, "inconsistencies": 1, "not_compiled_for": ["engine\u{1b}[2J"],
        });
        let worker = |n: u32| Worker {
            id: format!("execute.alice.{n:032}"),
            kind: "execute".into(),
            state: "available".into(),
            slots: 4,
            running: 3,
            host: format!("rack{n}"),
            secure: true,
            heard_ms_ago: Some(400.0),
            trouble: (n == 2).then(|| "cache folder\u{1b}[2J is full".into()),
            ..Worker::default()
        };
        let request = |n: u32| Request {
            request: format!("0190c2f3-a7b1-7000-8000-{n:012}"),
            client: "node.01".into(),
            work: "execute".into(),
            kind: Some("approval".into()),
            code: format!("0x{}", "ab".repeat(32)),
            state: "queued".into(),
            arrived_ms: Some(7_298_500.0),
            ..Request::default()
        };
        let sample = |n: u64| json!({"verdicts": {"valid": n * 10, "failed": 1}, "total_ms": {"p50": n * 5, "p99": n * 20}, "cpu_ms": 2500});
        Answers {
            status: part(&status).unwrap(),
            workers: (0..40).map(worker).collect(),
            workers_total: 40,
            requests: (0..90).map(request).collect(),
            samples: serde_json::from_value((0..30).map(sample).collect()).unwrap(),
            sample_ms: 5000.0,
        }
    }

    fn state_of(page: Page, answers: Answers) -> State {
        State::new(page, "pvf".into(), answers)
    }

    fn page(page: Page, size: (u16, u16)) -> String {
        text(&mut state_of(page, busy()), size).join("\n")
    }

    #[test]
    fn the_overview_fits_a_small_terminal() {
        let shown = page(Page::Overview, (80, 24));
        for part in [
            "fleet pvf  coordinator 0.1.0, token 7, up 2h00m",
            " Overview   Workers   Requests",
            "execute  4 workers",
            "12 of 16 slots busy",
            "backing-system",
            "1.5 s",
            "1,203",
            "70 %",
            "31 open of 3 clients, 1.0 MiB in memory",
            "verdicts",
            "engine\\u{1b}[2J",
            "1 inconsistencies",
            "cache folder\\u{1b}[2J is full",
            "q quit",
        ] {
            assert!(shown.contains(part), "{part:?} is not in:\n{shown}");
        }
        assert_eq!(shown.lines().count(), 24);
        assert!(!shown.contains('\u{1b}'), "{shown}");
    }

    #[test]
    fn workers_and_requests_are_rows_of_a_table() {
        let workers = page(Page::Workers, (80, 24));
        assert!(workers.contains("execute available   3/4") && workers.contains("rack5"), "{workers}");
        assert!(workers.contains("40 workers"), "{workers}");
        let requests = page(Page::Requests, (80, 24));
        let row = requests.lines().find(|line| line.contains("approval")).unwrap_or_else(|| panic!("{requests}"));
        assert!(row.contains("queued") && row.contains("1.5 s") && row.contains("abababababab…"), "{row}");
    }

    #[test]
    fn the_selected_worker_is_shown_in_full() {
        let mut state = state_of(Page::Workers, busy());
        state.workers.select(Some(2));
        let shown = text(&mut state, (80, 24)).join("\n");
        assert!(shown.contains(&format!("execute.alice.{:032}", 2)), "{shown}");
        assert!(shown.contains("cache folder\\u{1b}[2J is full"), "{shown}");
    }

    #[test]
    fn no_size_is_too_small() {
        for page in Page::ALL {
            for overlay in [None, Some(Overlay::Help), Some(Overlay::Lines(vec!["a".repeat(200); 90]))] {
                for size in [(1, 1), (3, 5), (20, 4), (80, 3), (300, 100)] {
                    let mut state = state_of(page, busy());
                    state.overlay = overlay.clone();
                    state.scrolled = u16::MAX;
                    assert_eq!(text(&mut state, size).len(), usize::from(size.1));
                    text(&mut state_of(page, Answers::default()), size);
                }
            }
        }
    }

    #[test]
    fn help_and_trouble_are_shown_over_the_page() {
        let mut state = state_of(Page::Overview, busy());
        (state.overlay, state.trouble) = (Some(Overlay::Help), Some("no coordinator".into()));
        let shown = text(&mut state, (80, 24)).join("\n");
        assert!(shown.contains("old, no answer: no coordinator"), "{shown}");
        assert!(shown.contains("tab, right"), "{shown}");
    }
}
