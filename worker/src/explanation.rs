//! What a diagnostic run says about a candidate. It is the word of a process in which guest code runs, for people: it
//! is bounded, a program that shows it escapes it, and no verdict depends on it.

use pvf_shared::record::MAX_FRAMES;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr, time::Duration};

/// Most bytes of all log messages with their targets.
pub const MAX_LOG: usize = 256 * 1024;
/// What a message takes besides its text, bytes.
const OVERHEAD: usize = 64;
/// Most bytes of one log message with its target.
pub const MAX_LINE: usize = 4096;
/// Most host functions that are listed: those that took longest.
pub const MAX_CALLS: usize = 256;
/// Longest name of a function, bytes.
pub const MAX_NAME: usize = 512;
/// Most steps of memory growth.
const MAX_STEPS: usize = 256;

/// The level of a log message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// What the existing host records, and the level that a guest finds in a real validation.
    Error,
    /// And warnings.
    Warn,
    /// And information.
    Info,
    /// And debugging.
    Debug,
    /// Everything.
    Trace,
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        })
    }
}

impl FromStr for LogLevel {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];
        let found = all.into_iter().find(|level| level.to_string() == text);
        found.ok_or_else(|| format!("unknown level {text:?}, expected error, warn, info, debug or trace"))
    }
}

/// A message that the guest logged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Its level.
    pub level: LogLevel,
    /// Its target, which the guest chooses.
    pub target: String,
    /// Its text.
    pub message: String,
}

impl LogLine {
    /// What it counts for the limit of all messages, bytes: also one without a text takes room.
    pub(crate) fn bytes(&self) -> usize {
        self.target.len() + self.message.len() + OVERHEAD
    }

    /// The message with a target of at most a quarter of these bytes, and a text of at most the rest.
    pub(crate) fn bounded(mut self, most: usize) -> Self {
        cut(&mut self.target, most / 4);
        let left = most - self.target.len();
        cut(&mut self.message, left);
        self
    }
}

fn cut(text: &mut String, most: usize) {
    text.truncate(text.floor_char_boundary(most));
}

/// A call of a function that was not over when the guest trapped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedFrame {
    /// Index of the function in the validation code.
    pub function: u32,
    /// Where in the instrumented function, bytes behind its start.
    pub offset: u32,
    /// Its name, if the code has a name section.
    pub name: Option<String>,
}

/// The calls of one host function.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostCalls {
    /// Its name.
    pub name: String,
    /// How often it was called.
    pub count: u64,
    /// Time of all calls.
    pub time: Duration,
}

/// The size of the guest's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryStep {
    /// When this size was seen first, time since the start of the call.
    pub after: Duration,
    /// The size, pages of 64 KiB.
    pub pages: u32,
}

/// What is known of a watched call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// Whether the call returned a result that decodes, or why not.
    pub outcome: Result<(), String>,
    /// What the guest logged: the first and the last messages, at most [`MAX_LOG`] bytes.
    pub log: Vec<LogLine>,
    /// Number of messages between these that were not kept.
    pub log_dropped: u64,
    /// The functions that were being called when the guest trapped, the innermost first.
    pub frames: Vec<NamedFrame>,
    /// Number of all such frames.
    pub frames_total: u32,
    /// The host functions that were called, by time.
    pub host_calls: Vec<HostCalls>,
    /// How the memory grew, as seen at calls of host functions.
    pub memory: Vec<MemoryStep>,
    /// Size of the memory at the end, pages of 64 KiB.
    pub memory_pages: Option<u32>,
    /// The greatest height of the logical stack that was seen at a call of a host function or at the end, values. It
    /// can have been higher between.
    pub stack_height: Option<u32>,
    /// CPU time of the call, without compiling. Watching costs some of it.
    pub cpu: Duration,
    /// Size of the block data that the guest got, bytes.
    pub block_data: Option<u64>,
}

impl Default for Explanation {
    fn default() -> Self {
        Self {
            outcome: Ok(()),
            log: Vec::new(),
            log_dropped: 0,
            frames: Vec::new(),
            frames_total: 0,
            host_calls: Vec::new(),
            memory: Vec::new(),
            memory_pages: None,
            stack_height: None,
            cpu: Duration::ZERO,
            block_data: None,
        }
    }
}

impl Explanation {
    /// The explanation within its limits.
    pub(crate) fn bounded(mut self) -> Self {
        if let Err(why) = &mut self.outcome {
            cut(why, MAX_LINE);
        }
        let mut room = MAX_LOG;
        self.log.retain_mut(|line| {
            *line = line.clone().bounded(MAX_LINE);
            let fits = line.bytes() <= room;
            room = room.saturating_sub(line.bytes());
            fits
        });
        self.frames.truncate(MAX_FRAMES);
        self.host_calls.truncate(MAX_CALLS);
        self.memory.truncate(MAX_STEPS);
        let names = self.frames.iter_mut().filter_map(|frame| frame.name.as_mut());
        names.chain(self.host_calls.iter_mut().map(|of| &mut of.name)).for_each(|name| cut(name, MAX_NAME));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explanation_is_bounded() {
        let long = "é".repeat(100_000);
        let line = LogLine { level: LogLevel::Info, target: long.clone(), message: long.clone() };
        let frame = NamedFrame { function: 1, offset: 1, name: Some(long.clone()) };
        let bounded = Explanation {
            outcome: Err(long.clone()),
            log: [
                vec![line; 1000],
                vec![LogLine { level: LogLevel::Info, target: String::new(), message: String::new() }; 100_000],
            ]
            .concat(),
            frames: vec![frame; 1000],
            host_calls: vec![HostCalls { name: long.clone(), count: 1, time: Duration::ZERO }; 1000],
            memory: vec![MemoryStep { after: Duration::ZERO, pages: 1 }; 1000],
            ..Explanation::default()
        }
        .bounded();
        assert!(bounded.log.len() <= MAX_LOG / OVERHEAD);
        assert!(bounded.log.iter().map(LogLine::bytes).sum::<usize>() <= MAX_LOG && !bounded.log.is_empty());
        assert!(bounded.outcome.as_ref().is_err_and(|why| why.len() <= MAX_LINE));
        assert_eq!((bounded.frames.len(), bounded.host_calls.len()), (MAX_FRAMES, MAX_CALLS));
        assert!(bounded.frames[0].name.as_ref().is_some_and(|name| name.len() <= MAX_NAME));
        assert_eq!(bounded.clone().bounded(), bounded);
    }

    #[test]
    fn levels_parse_as_they_are_displayed() {
        assert_eq!("trace".parse(), Ok(LogLevel::Trace));
        assert!("loud".parse::<LogLevel>().unwrap_err().contains("loud"));
    }
}
