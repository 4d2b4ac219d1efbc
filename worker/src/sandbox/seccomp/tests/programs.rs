//! The compiled programs decide as their lists say, and as the programs of `seccompiler` do.

use super::{
    super::{
        lists::{self, Rule, When},
        program::{THIS_ARCHITECTURE, compile},
    },
    interpreter::{Call, run},
    lists::all,
};
use libc::{SECCOMP_RET_ALLOW, SECCOMP_RET_KILL_PROCESS, sock_filter};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};
use std::collections::BTreeMap;

/// Numbers beyond those of any list; two of them belong to the x32 calling convention.
const OUTSIDE: [u32; 4] = [u32::MAX, 0x4000_0000, 0x4000_0001, 600];

fn numbers_of(list: &[Rule]) -> Vec<u32> {
    list.iter().map(|rule| rule.call as u32).collect()
}

/// Whether a list allows a call, by its rules and without a program.
fn allows(list: &[Rule], call: &Call) -> bool {
    let holds = |when: &When| match *when {
        When::Is(argument, value) => call.arguments[usize::from(argument)] == value,
        When::Bits(argument, mask, value) => call.arguments[usize::from(argument)] & mask == value,
    };
    list.iter().any(|rule| rule.call == i64::from(call.number) && rule.when.iter().all(holds))
}

fn compiled(list: &[Rule]) -> Vec<sock_filter> {
    compile(list, SECCOMP_RET_ALLOW, SECCOMP_RET_KILL_PROCESS).unwrap()
}

/// The same list, compiled by `seccompiler`.
fn reference(list: &[Rule]) -> Vec<sock_filter> {
    let condition = |when: &When| {
        let (argument, op, value) = match *when {
            When::Is(argument, value) => (argument, SeccompCmpOp::Eq, value),
            When::Bits(argument, mask, value) => (argument, SeccompCmpOp::MaskedEq(mask), value),
        };
        SeccompCondition::new(argument, SeccompCmpArgLen::Qword, op, value).unwrap()
    };
    let mut calls = BTreeMap::<i64, Vec<SeccompRule>>::new();
    for rule in list {
        let rules = calls.entry(rule.call).or_default();
        // A call without rules is allowed with any arguments, so an unconditional rule must be the only one.
        if rule.when.is_empty() {
            assert!(rules.is_empty(), "call {}", rule.call);
        } else {
            rules.push(SeccompRule::new(rule.when.iter().map(condition).collect()).unwrap());
        }
    }
    let architecture = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(calls, SeccompAction::KillProcess, SeccompAction::Allow, architecture).unwrap();
    let program: BpfProgram = filter.try_into().unwrap();
    program.into_iter().map(|i| sock_filter { code: i.code, jt: i.jt, jf: i.jf, k: i.k }).collect()
}

/// Pseudo-random numbers (splitmix64), the same on every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// A number with few, many or all kinds of bits set.
    fn mask(&mut self) -> u64 {
        match self.below(5) {
            0 => 1 << self.below(64),
            1 => 0xffff_ffff,
            2 => 0xffff_ffff << 32,
            3 => self.next() & self.next(),
            _ => self.next(),
        }
    }
}

/// Values on both sides of every condition of these rules, and values that calls of interest have.
fn values(rules: &[Rule]) -> Vec<u64> {
    let mut values = vec![0, 1, 2, u64::MAX, 1 << 32, libc::CLONE_NEWUSER as u64, libc::CLONE_THREAD as u64];
    for when in rules.iter().flat_map(|rule| rule.when) {
        let (When::Is(_, value) | When::Bits(_, _, value)) = *when;
        values.extend([value, value ^ 1, value | 4, value | 1 << 40]);
        if let When::Bits(_, mask, _) = *when {
            values.extend([
                value | !mask,
                value ^ (mask & mask.wrapping_neg()),
                value ^ (1 << (63 - mask.leading_zeros())),
            ]);
        }
    }
    // The flags of a thread, of a fork, and of a fork into a new network namespace.
    values.extend([0x3d_0f00, 0x120_0011, 0x120_0011 | libc::CLONE_NEWNET as u64]);
    values.sort_unstable();
    values.dedup();
    values
}

/// Arguments with one of these values at one position, and zeros elsewhere.
fn one_at_a_time(values: &[u64]) -> Vec<[u64; 6]> {
    let at = |position: usize, value: u64| std::array::from_fn(|n| if n == position { value } else { 0 });
    (0..6).flat_map(|position| values.iter().map(move |value| at(position, *value))).collect()
}

/// Arguments with one of these values, or any value, at every position.
fn combinations(values: &[u64], random: &mut Random, count: usize) -> Vec<[u64; 6]> {
    let mut argument = || if random.below(8) == 0 { random.next() } else { random.one_of(values) };
    (0..count).map(|_| std::array::from_fn(|_| argument())).collect()
}

/// Fails unless list, program and reference agree about every number with every one of these arguments.
fn assert_agree(name: &str, list: &[Rule], numbers: &[u32], arguments: &[[u64; 6]]) {
    let (program, reference) = (compiled(list), reference(list));
    assert!(program.len() < 4096, "{name}: {} instructions, more than the kernel accepts", program.len());
    for number in numbers {
        for arguments in arguments {
            let call = Call::new(*number, *arguments);
            let expected = if allows(list, &call) { SECCOMP_RET_ALLOW } else { SECCOMP_RET_KILL_PROCESS };
            assert_eq!(run(&program, &call), expected, "{name}: program and list: {call:x?}");
            assert_eq!(run(&reference, &call), expected, "{name}: seccompiler and list: {call:x?}");
        }
    }
}

#[test]
fn programs_decide_as_their_lists_and_as_seccompiler() {
    let mut random = Random(1);
    for (name, list) in all() {
        let numbers: Vec<u32> = (0..600).chain(OUTSIDE).collect();
        assert_agree(name, &list, &numbers, &[[0; 6], [u64::MAX; 6]]);
        let (values, listed) = (values(&list), numbers_of(&list));
        assert_agree(name, &list, &listed, &one_at_a_time(&values));
        assert_agree(name, &list, &listed, &combinations(&values, &mut random, 1000));
    }
}

/// A list of random rules: up to four for each call, with up to three conditions each.
fn generated(random: &mut Random) -> Vec<Rule> {
    let mut list = Vec::new();
    for _ in 0..random.below(60) {
        let call = random.below(500) as i64;
        if list.iter().any(|rule: &Rule| rule.call == call) {
            continue;
        }
        for _ in 0..random.below(5) {
            let mut condition = |_| {
                let (argument, mask) = (random.below(6) as u8, random.mask());
                match random.below(2) {
                    0 => When::Is(argument, random.mask()),
                    _ => When::Bits(argument, mask, random.next() & mask),
                }
            };
            let conditions = 1 + list.len() % 3;
            let when: Vec<When> = (0..conditions).map(&mut condition).collect();
            list.push(Rule { call, when: when.leak(), why: "generated" });
        }
        if list.last().is_none_or(|rule| rule.call != call) {
            list.push(Rule { call, when: &[], why: "generated" });
        }
    }
    list
}

#[test]
fn programs_of_generated_lists_decide_as_their_lists_and_as_seccompiler() {
    let mut random = Random(2);
    for n in 0..200 {
        let list = generated(&mut random);
        let listed = numbers_of(&list).into_iter();
        let numbers: Vec<u32> =
            listed.flat_map(|call| [call, call + 1, call.saturating_sub(1)]).chain(OUTSIDE).collect();
        let values = values(&list);
        assert_agree(&format!("list {n}"), &list, &numbers, &combinations(&values, &mut random, 40));
        // Arguments that satisfy all conditions of a rule, which random combinations rarely do.
        for rule in &list {
            let mut arguments = [0; 6];
            for when in rule.when {
                let (When::Is(argument, value) | When::Bits(argument, _, value)) = *when;
                arguments[usize::from(argument)] = value;
            }
            assert_agree(&format!("list {n}"), &list, &[rule.call as u32], &[arguments]);
        }
    }
}

/// A template that has mapped its artifact runs two filters, a fork three, and the kernel obeys the strictest one.
#[test]
fn the_filters_of_a_fork_allow_what_a_job_needs_and_nothing_else() {
    let forbidding = |list| compile(list, SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_ALLOW).unwrap();
    let filters = [compiled(&lists::template()), forbidding(lists::MAPPING), forbidding(lists::TEMPLATE)];
    assert!(filters[2].len() < compiled(lists::JOB).len(), "the third filter is the shorter one");
    let mapped = [lists::JOB, lists::TEMPLATE].concat();
    let judge = |number: u32, arguments: [u64; 6]| {
        let call = Call::new(number, arguments);
        let allowed = filters.each_ref().map(|program| run(program, &call) == SECCOMP_RET_ALLOW);
        assert_eq!(allowed[0] && allowed[1], allows(&mapped, &call), "{call:x?}");
        assert_eq!(allowed == [true; 3], allows(lists::JOB, &call), "{call:x?}");
    };
    (0..600).chain(OUTSIDE).for_each(|number| judge(number, [0; 6]));
    let values = values(&lists::template());
    let arguments = [one_at_a_time(&values), combinations(&values, &mut Random(3), 1000)].concat();
    for number in numbers_of(&lists::template()) {
        arguments.iter().for_each(|arguments| judge(number, *arguments));
    }
}

#[test]
fn a_call_by_another_convention_is_fatal_whatever_its_number() {
    for (name, list) in all() {
        let program = compiled(&list);
        for architecture in [0, 0x4000_0003, THIS_ARCHITECTURE.unwrap() ^ 1] {
            for number in 0..600 {
                let call = Call { architecture, ..Call::new(number, [0; 6]) };
                assert_eq!(run(&program, &call), SECCOMP_RET_KILL_PROCESS, "{name}: {call:x?}");
            }
        }
    }
}
