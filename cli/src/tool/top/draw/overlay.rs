//! What lies over a page.

use super::Look;
use ratatui::{
    Frame,
    layout::Rect,
    text::Line,
    widgets::{Block, Clear, Paragraph, Wrap},
};

/// What the keys do.
const KEYS: [(&str, &str); 8] = [
    ("q, esc, ctrl+c", "quit"),
    ("tab, right", "next page"),
    ("shift+tab, left", "page before"),
    ("up, down, page up, page down", "select a row"),
    ("home, end", "select the first or the last row"),
    ("enter", "what the selected request waits for, or why it ended"),
    ("f", "which requests are listed: all, open, ended, failed, slow"),
    ("?", "this help; any key closes it"),
];

pub(super) fn help(frame: &mut Frame<'_>, look: Look) {
    let keys = KEYS.iter().map(|(keys, what)| Line::raw(format!("{keys:<29} {what}")));
    let title = Line::styled("keys", look.title());
    let height = KEYS.len() as u16 + 2;
    render(frame, Paragraph::new(keys.collect::<Vec<_>>()).block(Block::bordered().title(title)), height);
}

/// Lines that are escaped; long ones are wrapped.
pub(super) fn lines(frame: &mut Frame<'_>, lines: &[String], scrolled: u16) {
    let text: Vec<_> = lines.iter().map(|line| Line::raw(line.as_str())).collect();
    // It cannot be scrolled beyond its last line.
    let last = u16::try_from(text.len().saturating_sub(1)).unwrap_or(u16::MAX);
    let block = Block::bordered().title(" up, down; any other key closes this ");
    let text = Paragraph::new(text).block(block).wrap(Wrap { trim: false }).scroll((scrolled.min(last), 0));
    render(frame, text, u16::MAX);
}

/// In the middle of the page, at most so high.
fn render(frame: &mut Frame<'_>, text: Paragraph<'_>, height: u16) {
    let all = frame.area();
    let (width, height) = (all.width.saturating_sub(4), height.min(all.height.saturating_sub(4)));
    let area = Rect { x: all.x + 2.min(all.width), y: all.y + 2.min(all.height), width, height };
    let area = area.intersection(all);
    frame.render_widget(Clear, area);
    frame.render_widget(text, area);
}
