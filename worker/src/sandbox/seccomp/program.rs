//! Compiles a list to the classic BPF program that the kernel runs at each system call.
//!
//! The program finds a call by binary search. When a filter is installed, the kernel evaluates it once for every system
//! call number, to cache which calls are allowed with any arguments. Every fork installs a filter, and with a linear
//! search that evaluation would take a multiple of the time of everything else in the installation.

use super::lists::{Rule, When};
use libc::{BPF_ABS, BPF_ALU, BPF_AND, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter};
use std::collections::BTreeMap;

/// Offsets in `struct seccomp_data`, bytes.
pub(super) const NUMBER: u32 = 0;
pub(super) const ARCHITECTURE: u32 = 4;
pub(super) const ARGUMENTS: u32 = 16;

/// `AUDIT_ARCH_…` of this build. A call by another calling convention has other numbers, and is always fatal.
pub(super) const THIS_ARCHITECTURE: Option<u32> = if cfg!(target_arch = "x86_64") {
    Some(0xc000_003e)
} else if cfg!(target_arch = "aarch64") {
    Some(0xc000_00b7)
} else {
    None
};

/// Size of a range of calls at which the binary search turns linear.
const FEW: usize = 2;

/// The conditions of each rule of one call.
type Forms<'a> = Vec<&'a [When]>;

/// Compiles the program that returns `listed` for a call that a rule of the list allows, and `otherwise` for any other.
pub(super) fn compile<'a>(
    list: impl IntoIterator<Item = &'a Rule>,
    listed: u32,
    otherwise: u32,
) -> Result<Vec<sock_filter>, String> {
    let architecture = THIS_ARCHITECTURE.ok_or("seccomp: no lists for this architecture")?;
    let mut calls = BTreeMap::<u32, Forms<'_>>::new();
    for rule in list {
        let number = u32::try_from(rule.call)
            .map_err(|_| format!("seccomp: invalid system call number {} ({})", rule.call, rule.why))?;
        calls.entry(number).or_default().push(rule.when);
    }
    let calls: Vec<_> = calls.into_iter().collect();
    let actions = Actions { listed, otherwise };
    let mut program =
        vec![load(ARCHITECTURE), jump(BPF_JEQ, architecture, 1, 0), ret(libc::SECCOMP_RET_KILL_PROCESS), load(NUMBER)];
    program.extend(actions.search(&calls)?);
    Ok(program)
}

/// The return values of a program.
struct Actions {
    listed: u32,
    otherwise: u32,
}

impl Actions {
    /// Returns a decision for every number. Expects the number to be loaded.
    fn search(&self, calls: &[(u32, Forms<'_>)]) -> Result<Vec<sock_filter>, String> {
        let mut program = Vec::new();
        if calls.len() <= FEW {
            for (number, forms) in calls {
                let decision = self.decide(forms)?;
                program.push(jump(BPF_JEQ, *number, 0, distance(decision.len())?));
                program.extend(decision);
            }
            program.push(ret(self.otherwise));
        } else {
            let (below, above) = calls.split_at(calls.len() / 2);
            let (first, below) = (above[0].0, self.search(below)?);
            // Jumps over the lower half, which may be longer than the 255 instructions that a comparison can jump over.
            program.extend([jump(BPF_JGE, first, 0, 1), instruction(BPF_JMP | BPF_JA, below.len() as u32)]);
            program.extend(below);
            program.extend(self.search(above)?);
        }
        Ok(program)
    }

    /// Decides about one call by its arguments.
    fn decide(&self, forms: &[&[When]]) -> Result<Vec<sock_filter>, String> {
        let mut program = Vec::new();
        for form in forms {
            // A comparison that fails jumps to the next form, behind the return instruction of this one.
            let mut words = Vec::new();
            for when in *form {
                words.extend(comparisons(when));
            }
            let mut steps: Vec<sock_filter> = Vec::new();
            let lengths = words.iter().map(|word| if word.mask == u32::MAX { 2 } else { 3 });
            let mut rest: usize = lengths.sum();
            for word in words {
                steps.push(load(word.at));
                rest -= 2;
                if word.mask != u32::MAX {
                    steps.push(instruction(BPF_ALU | BPF_AND | BPF_K, word.mask));
                    rest -= 1;
                }
                steps.push(jump(BPF_JEQ, word.value, 0, distance(rest + 1)?));
            }
            program.extend(steps);
            program.push(ret(self.listed));
        }
        if forms.iter().all(|form| !form.is_empty()) {
            program.push(ret(self.otherwise));
        }
        Ok(program)
    }
}

/// A comparison of one half of an argument.
struct Word {
    at: u32,
    mask: u32,
    value: u32,
}

/// Splits a 64-bit condition into comparisons of 32 bits, the width of a BPF word. Both architectures are little
/// endian.
fn comparisons(when: &When) -> impl Iterator<Item = Word> {
    let (argument, mask, value) = match *when {
        When::Is(argument, value) => (argument, u64::MAX, value),
        When::Bits(argument, mask, value) => (argument, mask, value),
    };
    let at = ARGUMENTS + 8 * u32::from(argument);
    let halves = [(at, mask as u32, value as u32), (at + 4, (mask >> 32) as u32, (value >> 32) as u32)];
    halves.into_iter().filter(|(_, mask, _)| *mask != 0).map(|(at, mask, value)| Word { at, mask, value })
}

fn distance(instructions: usize) -> Result<u8, String> {
    u8::try_from(instructions).map_err(|_| "seccomp: too many rules for one call".to_owned())
}

fn instruction(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

fn load(at: u32) -> sock_filter {
    instruction(BPF_LD | BPF_W | BPF_ABS, at)
}

fn ret(value: u32) -> sock_filter {
    instruction(BPF_RET | BPF_K, value)
}

fn jump(test: u32, value: u32, if_so: u8, if_not: u8) -> sock_filter {
    sock_filter { jt: if_so, jf: if_not, ..instruction(BPF_JMP | test | BPF_K, value) }
}
