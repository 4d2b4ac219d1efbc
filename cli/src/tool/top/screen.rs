//! The terminal: it is as it was when this is dropped, also after a panic.

use super::{draw, state::State};
use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event, KeyEvent, KeyEventKind},
};
use std::{io, time::Duration};
use tokio::sync::mpsc;

/// How often the thread that waits for keys looks whether it still has to.
const LOOK: Duration = Duration::from_millis(200);

pub(super) struct Screen {
    terminal: DefaultTerminal,
    events: mpsc::UnboundedReceiver<Event>,
}

impl Screen {
    pub(super) fn open() -> io::Result<Self> {
        // A terminal that was changed in part is put back.
        let terminal = ratatui::try_init().inspect_err(|_| ratatui::restore())?;
        let (sender, events) = mpsc::unbounded_channel();
        let screen = Self { terminal, events };
        std::thread::Builder::new().name("keys".into()).spawn(move || read(&sender))?;
        Ok(screen)
    }

    pub(super) fn draw(&mut self, state: &mut State) -> io::Result<()> {
        self.terminal.draw(|frame| draw::draw(frame, state)).map(drop)
    }

    /// The next key that is pressed; `Some(None)` stands for another size of the terminal. `None`: there are no more.
    pub(super) async fn event(&mut self) -> Option<Option<KeyEvent>> {
        loop {
            match self.events.recv().await? {
                Event::Key(key) if key.kind != KeyEventKind::Release => return Some(Some(key)),
                Event::Resize(..) => return Some(None),
                _ => {}
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Hands over events until the receiver or the terminal is gone.
fn read(events: &mpsc::UnboundedSender<Event>) {
    while !events.is_closed() {
        let event = match event::poll(LOOK) {
            Ok(true) => event::read(),
            Ok(false) => continue,
            Err(error) => Err(error),
        };
        match event {
            Ok(event) => drop(events.send(event)),
            Err(_) => return,
        }
    }
}
