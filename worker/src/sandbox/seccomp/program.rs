//! From a list to what the kernel runs at each system call: a program of classic BPF.
//!
//! Calls are found by binary search, not one after the other: whenever a filter is installed, the kernel runs it for
//! every call that there is, to know which are allowed whatever their arguments. Each fork of a template installs
//! one, and a chain of comparisons would cost it a multiple of the rest of that.

use super::lists::{Rule, When};
use libc::{BPF_ABS, BPF_ALU, BPF_AND, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter};
use std::collections::BTreeMap;

/// Where a filter finds things (`struct seccomp_data`), bytes.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// `AUDIT_ARCH_…` of this build; calls by another convention have other numbers.
const THIS_ARCHITECTURE: Option<u32> = if cfg!(target_arch = "x86_64") {
    Some(0xc000_003e)
} else if cfg!(target_arch = "aarch64") {
    Some(0xc000_00b7)
} else {
    None
};

/// Calls that are compared one after the other.
const FEW: usize = 2;

type Forms<'a> = Vec<&'a [When]>;

/// The program that gives `listed` for what is on the list, and `otherwise` for the rest.
pub(super) fn compile<'a>(
    list: impl IntoIterator<Item = &'a Rule>,
    listed: u32,
    otherwise: u32,
) -> Result<Vec<sock_filter>, String> {
    let architecture = THIS_ARCHITECTURE.ok_or("there are no lists for this architecture")?;
    let mut calls = BTreeMap::<u32, Forms<'_>>::new();
    for rule in list {
        let number = u32::try_from(rule.call).map_err(|_| format!("no call is {} ({})", rule.call, rule.why))?;
        calls.entry(number).or_default().push(rule.when);
    }
    let calls: Vec<_> = calls.into_iter().collect();
    let answers = Answers { listed, otherwise };
    let mut program = vec![
        load(ARCHITECTURE),
        jump(BPF_JEQ, architecture, 1, 0),
        answer(libc::SECCOMP_RET_KILL_PROCESS),
        load(NUMBER),
    ];
    program.extend(answers.search(&calls)?);
    Ok(program)
}

struct Answers {
    listed: u32,
    otherwise: u32,
}

impl Answers {
    /// With the number loaded: answers in any case.
    fn search(&self, calls: &[(u32, Forms<'_>)]) -> Result<Vec<sock_filter>, String> {
        let mut program = Vec::new();
        if calls.len() <= FEW {
            for (number, forms) in calls {
                let answers = self.of_forms(forms)?;
                program.push(jump(BPF_JEQ, *number, 0, distance(answers.len())?));
                program.extend(answers);
            }
            program.push(answer(self.otherwise));
        } else {
            let (below, above) = calls.split_at(calls.len() / 2);
            let (first, below) = (above[0].0, self.search(below)?);
            // Over the lower half, however long that is.
            program.extend([jump(BPF_JGE, first, 0, 1), instruction(BPF_JMP | BPF_JA, below.len() as u32)]);
            program.extend(below);
            program.extend(self.search(above)?);
        }
        Ok(program)
    }

    /// For a call that was found.
    fn of_forms(&self, forms: &[&[When]]) -> Result<Vec<sock_filter>, String> {
        let mut program = Vec::new();
        for form in forms {
            // Each comparison that fails goes to the next form, behind the answer of this one.
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
            program.push(answer(self.listed));
        }
        if forms.iter().all(|form| !form.is_empty()) {
            program.push(answer(self.otherwise));
        }
        Ok(program)
    }
}

/// Half of an argument.
struct Word {
    at: u32,
    mask: u32,
    value: u32,
}

/// An argument is 64 bits wide, BPF's words 32: the lower one comes first, on both architectures.
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
    u8::try_from(instructions).map_err(|_| "a call has too many forms".to_owned())
}

fn instruction(code: u32, k: u32) -> sock_filter {
    sock_filter { code: code as u16, jt: 0, jf: 0, k }
}

fn load(at: u32) -> sock_filter {
    instruction(BPF_LD | BPF_W | BPF_ABS, at)
}

fn answer(value: u32) -> sock_filter {
    instruction(BPF_RET | BPF_K, value)
}

fn jump(test: u32, value: u32, if_so: u8, if_not: u8) -> sock_filter {
    sock_filter { jt: if_so, jf: if_not, ..instruction(BPF_JMP | test | BPF_K, value) }
}

#[cfg(test)]
mod tests {
    use super::{super::lists, *};

    /// What the kernel would do.
    fn run(program: &[sock_filter], number: u32, arguments: [u64; 6]) -> u32 {
        let (mut at, mut word) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            at += 1;
            let branch = |so: bool| usize::from(if so { jt } else { jf });
            match u32::from(code) {
                c if c == BPF_LD | BPF_W | BPF_ABS => {
                    word = match k {
                        NUMBER => number,
                        ARCHITECTURE => THIS_ARCHITECTURE.unwrap(),
                        at => (arguments[(at - ARGUMENTS) as usize / 8] >> (8 * (at % 8))) as u32,
                    }
                }
                c if c == BPF_ALU | BPF_AND | BPF_K => word &= k,
                c if c == BPF_JMP | BPF_JA => at += k as usize,
                c if c == BPF_JMP | BPF_JEQ | BPF_K => at += branch(word == k),
                c if c == BPF_JMP | BPF_JGE | BPF_K => at += branch(word >= k),
                c if c == BPF_RET | BPF_K => return k,
                other => panic!("{other:#x}"),
            }
        }
    }

    fn wanted(list: &[Rule], number: u32, arguments: [u64; 6]) -> bool {
        let holds = |when: &When| match *when {
            When::Is(argument, value) => arguments[argument as usize] == value,
            When::Bits(argument, mask, value) => arguments[argument as usize] & mask == value,
        };
        list.iter().any(|rule| rule.call == i64::from(number) && rule.when.iter().all(holds))
    }

    /// Arguments that have in one place whatever conditions mention, or what is near it.
    fn samples(lists: &[Vec<Rule>]) -> Vec<[u64; 6]> {
        let mut values = vec![0, 1, 2, u64::MAX, 1 << 32, libc::CLONE_NEWUSER as u64, libc::CLONE_THREAD as u64];
        for when in lists.iter().flatten().flat_map(|rule| rule.when) {
            let (When::Is(_, value) | When::Bits(_, _, value)) = *when;
            values.extend([value, value ^ 1, value | 4, value | 1 << 40]);
        }
        values.extend([0x3d_0f00, 0x120_0011, 0x120_0011 | libc::CLONE_NEWNET as u64]);
        let at = |position: usize, value: u64| {
            let mut arguments = [0; 6];
            arguments[position] = value;
            arguments
        };
        (0..6).flat_map(|position| values.iter().map(move |value| at(position, *value))).collect()
    }

    /// Of two filters the stricter decides.
    #[test]
    fn a_fork_may_what_a_job_needs_and_nothing_else() {
        let template = compile(&lists::template(), 1, 2).unwrap();
        let fork = compile(lists::TEMPLATE, 2, 1).unwrap();
        assert!(fork.len() < compile(lists::JOB, 1, 2).unwrap().len());
        for number in (0..600).chain([u32::MAX, 0x4000_0000, 0x4000_0001]) {
            for arguments in samples(&[lists::template()]) {
                let may = [&template, &fork].iter().all(|program| run(program, number, arguments) == 1);
                assert_eq!(may, wanted(lists::JOB, number, arguments), "{number} {arguments:x?}");
            }
        }
    }

    #[test]
    fn programs_decide_as_their_lists_say() {
        let lists = [lists::JOB.to_vec(), lists::template(), lists::PREPARATION.to_vec(), lists::REFUSED.to_vec()];
        let samples = samples(&lists);
        let numbers = (0..600).chain([u32::MAX, 0x4000_0000, 0x4000_0001]);
        for list in lists {
            let program = compile(&list, 1, 2).unwrap();
            assert!(program.len() < 4096);
            for number in numbers.clone() {
                for arguments in &samples {
                    let decided = run(&program, number, *arguments) == 1;
                    assert_eq!(decided, wanted(&list, number, *arguments), "{number} {arguments:x?}");
                }
            }
        }
    }
}
