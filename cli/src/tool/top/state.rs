//! What is shown, and what keys do to it.

use super::{
    answers::{Answers, Heard},
    args::Page,
    filter::Filter,
};
use crate::tool::api::requests::described;
use ratatui::{
    crossterm::event::{KeyCode, KeyEvent, KeyModifiers},
    widgets::TableState,
};

/// Rows that a page key moves.
const ROWS_OF_A_PAGE: u16 = 10;

/// What lies over the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Overlay {
    Help,
    /// A request that was asked for.
    Waiting(String),
    Lines(Vec<String>),
}

/// What a key asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    None,
    Quit,
    Filter(Filter),
    Show(String),
}

pub(super) struct State {
    pub(super) page: Page,
    pub(super) fleet: String,
    pub(super) filter: Filter,
    pub(super) overlay: Option<Overlay>,
    /// Lines of the overlay that are above what is shown.
    pub(super) scrolled: u16,
    pub(super) answers: Answers,
    /// Why the answers are old.
    pub(super) trouble: Option<String>,
    pub(super) workers: TableState,
    pub(super) requests: TableState,
    pub(super) with_colours: bool,
}

impl State {
    pub(super) fn new(page: Page, fleet: String, answers: Answers) -> Self {
        let with_colours = std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
        Self {
            page,
            fleet,
            filter: Filter::default(),
            overlay: None,
            scrolled: 0,
            answers,
            trouble: None,
            workers: TableState::new(),
            requests: TableState::new(),
            with_colours,
        }
    }

    pub(super) fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Answers(answers) => {
                (self.answers, self.trouble) = (*answers, None);
                clamp(&mut self.workers, self.answers.workers.len());
                clamp(&mut self.requests, self.answers.requests.len());
            }
            Heard::Request(request) => {
                self.hear_of(&request.request, described(&request, self.answers.status.at_ms));
            }
            Heard::RequestFailed { request, why } => self.hear_of(&request, vec![why]),
            Heard::Failed(why) => self.trouble = Some(why),
        }
    }

    /// Another one may have been asked for meanwhile, or none.
    fn hear_of(&mut self, request: &str, lines: Vec<String>) {
        if matches!(&self.overlay, Some(Overlay::Waiting(id)) if id == request) {
            self.overlay = Some(Overlay::Lines(lines));
        }
    }

    /// What a key does; without a key the terminal has another size.
    pub(super) fn key(&mut self, key: Option<KeyEvent>) -> Action {
        let Some(key) = key else { return Action::None };
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return if key.code == KeyCode::Char('c') { Action::Quit } else { Action::None };
        }
        if self.overlay.is_some() {
            self.key_of_overlay(key.code);
            return Action::None;
        }
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => return Action::Quit,
            KeyCode::Char('?' | 'h') => self.show(Overlay::Help),
            KeyCode::Tab | KeyCode::Right => self.page = self.page.moved(1),
            KeyCode::BackTab | KeyCode::Left => self.page = self.page.moved(Page::ALL.len() - 1),
            KeyCode::Char('f') => {
                (self.page, self.filter) = (Page::Requests, self.filter.next());
                self.requests = TableState::new();
                return Action::Filter(self.filter);
            }
            KeyCode::Enter => return self.enter(),
            code => self.select(code),
        }
        Action::None
    }

    /// Every other key closes it.
    fn key_of_overlay(&mut self, code: KeyCode) {
        match code {
            KeyCode::Down => self.scrolled = self.scrolled.saturating_add(1),
            KeyCode::Up => self.scrolled = self.scrolled.saturating_sub(1),
            KeyCode::PageDown => self.scrolled = self.scrolled.saturating_add(ROWS_OF_A_PAGE),
            KeyCode::PageUp => self.scrolled = self.scrolled.saturating_sub(ROWS_OF_A_PAGE),
            _ => self.overlay = None,
        }
        if let Some(Overlay::Lines(lines)) = &self.overlay {
            self.scrolled = self.scrolled.min(u16::try_from(lines.len()).unwrap_or(u16::MAX).saturating_sub(1));
        }
    }

    fn show(&mut self, overlay: Overlay) {
        (self.overlay, self.scrolled) = (Some(overlay), 0);
    }

    fn enter(&mut self) -> Action {
        if self.page != Page::Requests {
            return Action::None;
        }
        let selected = self.requests.selected().and_then(|at| self.answers.requests.get(at));
        let Some(id) = selected.map(|request| request.request.clone()) else { return Action::None };
        self.show(Overlay::Waiting(id.clone()));
        Action::Show(id)
    }

    fn select(&mut self, code: KeyCode) {
        let (table, rows) = match self.page {
            Page::Overview => return,
            Page::Workers => (&mut self.workers, self.answers.workers.len()),
            Page::Requests => (&mut self.requests, self.answers.requests.len()),
        };
        match code {
            KeyCode::Down => table.select_next(),
            KeyCode::Up => table.select_previous(),
            KeyCode::PageDown => table.scroll_down_by(ROWS_OF_A_PAGE),
            KeyCode::PageUp => table.scroll_up_by(ROWS_OF_A_PAGE),
            KeyCode::Home => table.select_first(),
            KeyCode::End => table.select_last(),
            _ => {}
        }
        clamp(table, rows);
    }
}

/// There may be fewer rows than before.
fn clamp(table: &mut TableState, rows: usize) {
    if let Some(selected) = table.selected() {
        table.select(rows.checked_sub(1).map(|last| selected.min(last)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tool::api::model::Request;

    fn state(page: Page) -> State {
        let request = |id: &str| Request { request: id.into(), ..Request::default() };
        State::new(page, "pvf".into(), Answers { requests: vec![request("a"), request("b")], ..Answers::default() })
    }

    fn press(state: &mut State, code: KeyCode) -> Action {
        state.key(Some(KeyEvent::new(code, KeyModifiers::NONE)))
    }

    #[test]
    fn pages_are_turned_round_and_round() {
        let mut state = state(Page::Overview);
        for page in [Page::Workers, Page::Requests, Page::Overview] {
            assert_eq!(press(&mut state, KeyCode::Tab), Action::None);
            assert_eq!(state.page, page);
        }
        press(&mut state, KeyCode::Left);
        assert_eq!(state.page, Page::Requests);
        assert_eq!(press(&mut state, KeyCode::Char('q')), Action::Quit);
        assert_eq!(state.key(Some(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL))), Action::Quit);
        assert_eq!(state.key(None), Action::None);
    }

    #[test]
    fn the_selected_request_is_asked_for_and_only_its_answer_is_shown() {
        let mut state = state(Page::Requests);
        assert_eq!(press(&mut state, KeyCode::Enter), Action::None, "none is selected");
        for _ in 0..3 {
            press(&mut state, KeyCode::Down);
        }
        assert_eq!(press(&mut state, KeyCode::Enter), Action::Show("b".into()));
        let answer = |id: &str| {
            Heard::Request(Box::new(Request { request: id.into(), why: vec!["Because.".into()], ..Request::default() }))
        };
        state.hear(answer("a"));
        assert_eq!(state.overlay, Some(Overlay::Waiting("b".into())));
        state.hear(answer("b"));
        assert!(
            matches!(&state.overlay, Some(Overlay::Lines(lines)) if lines.iter().any(|line| line.ends_with("Because.")))
        );
        assert_eq!(press(&mut state, KeyCode::Esc), Action::None, "it closes what lies over the page");
        assert_eq!(state.overlay, None);
        state.hear(answer("b"));
        assert_eq!(state.overlay, None);
    }

    #[test]
    fn a_request_that_is_not_answered_is_no_trouble_of_the_page() {
        let mut state = state(Page::Requests);
        let failed = |id: &str| Heard::RequestFailed { request: id.into(), why: "no such request".into() };
        press(&mut state, KeyCode::Down);
        press(&mut state, KeyCode::Enter);
        state.hear(Heard::Failed("no coordinator".into()));
        assert_eq!(state.overlay, Some(Overlay::Waiting("a".into())));
        state.hear(failed("b"));
        assert_eq!(state.overlay, Some(Overlay::Waiting("a".into())));
        state.hear(failed("a"));
        assert_eq!(state.overlay, Some(Overlay::Lines(vec!["no such request".into()])));
        for _ in 0..5 {
            press(&mut state, KeyCode::Down);
        }
        assert_eq!(state.scrolled, 0, "one line");
    }

    #[test]
    fn a_selection_stays_within_the_rows() {
        let mut state = state(Page::Requests);
        press(&mut state, KeyCode::End);
        assert_eq!(state.requests.selected(), Some(1));
        state.hear(Heard::Answers(Box::default()));
        assert_eq!(state.requests.selected(), None);
        press(&mut state, KeyCode::Down);
        assert_eq!(press(&mut state, KeyCode::Enter), Action::None);
    }

    #[test]
    fn a_failure_keeps_the_answers_and_goes_with_the_next_one() {
        let mut state = state(Page::Overview);
        state.hear(Heard::Failed("no coordinator".into()));
        assert_eq!((state.trouble.as_deref(), state.answers.requests.len()), (Some("no coordinator"), 2));
        state.hear(Heard::Answers(Box::default()));
        assert_eq!(state.trouble, None);
    }

    #[test]
    fn filters_are_taken_in_turns() {
        let mut state = state(Page::Overview);
        let names: Vec<_> = (0..5)
            .map(|_| match press(&mut state, KeyCode::Char('f')) {
                Action::Filter(filter) => filter.name(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(names, [Some("open"), Some("ended"), Some("failed"), Some("slow"), None]);
        assert_eq!(state.page, Page::Requests);
    }
}
