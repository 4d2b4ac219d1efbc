//! `pvf top`: the state of a fleet, live on a terminal.
//!
//! * `answers` asks the coordinator, in a task of its own: keys are answered at once, also while a coordinator is slow.
//! * `state` has what is shown, and what keys do to it. `screen` has the terminal and its keys.
//! * `draw` draws the state, on a terminal or, for `--once` and for tests, into memory.

mod answers;
pub(crate) mod args;
mod draw;
mod filter;
mod model;
mod screen;
mod state;

use super::{
    api::Api,
    args::Global,
    failure::{Exit, Failure},
};
use answers::{Answers, Asker};
use args::Top;
use pvf_shared::signals::Shutdown;
use screen::Screen;
use serde_json::json;
use state::{Action, State};
use std::{io::IsTerminal as _, sync::Arc};

/// The size of the page that `--once` prints, columns and lines.
const ONCE: (u16, u16) = (80, 24);

pub(crate) async fn top(global: &Global, args: &Top) -> Result<Exit, Failure> {
    let is_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    if !args.once && global.json {
        return Err(Failure::Input("--json: only with --once: a display that goes on is no JSON".into()));
    }
    if !args.once && !is_terminal {
        let instead = "--once prints one page as text, and --once --json what the coordinator answers";
        return Err(Failure::Input(format!("top: stdin and stdout must be a terminal; {instead}")));
    }
    let api = Arc::new(Api::connect(global, "top").await?);
    // Before the terminal is changed: an error is shown as of every other command.
    let (raw, answers) = Answers::ask(&api, filter::Filter::default()).await?;
    let mut state = State::new(args.page, global.fleet.to_string(), answers);
    if args.once {
        match global.json {
            true => outln!("{}", json!(raw)),
            false => draw::text(&mut state, ONCE).iter().for_each(|line| outln!("{line}")),
        }
        return Ok(Exit::Success);
    }
    Box::pin(live(api, args, state)).await
}

/// Shows the state until the user ends it.
async fn live(api: Arc<Api>, args: &Top, mut state: State) -> Result<Exit, Failure> {
    let failed = |error: std::io::Error| Failure::no_result("terminal", error);
    let mut shutdown = Shutdown::catch().map_err(|error| Failure::no_result("signals", error))?;
    let mut asker = Asker::start(api, args.interval);
    let mut screen = Screen::open().map_err(failed)?;
    loop {
        screen.draw(&mut state).map_err(failed)?;
        tokio::select! {
            () = shutdown.asked() => return Ok(Exit::Success),
            event = screen.event() => match event {
                // The terminal is gone.
                None => return Ok(Exit::Success),
                Some(event) => match state.key(event) {
                    Action::None => {}
                    Action::Quit => return Ok(Exit::Success),
                    Action::Filter(filter) => asker.filter(filter),
                    Action::Show(request) => asker.request(request),
                },
            },
            heard = asker.next() => state.hear(heard),
        }
    }
}
