//! The budgets of memory and processes as metrics, read when they are asked for.

use super::cgroup::{Budget, CgroupBudgets};
use prometheus::{
    IntGauge, Result,
    core::{Collector, Desc},
    proto::MetricFamily,
};
use std::fs;

/// How much memory and how many processes there are where this process runs, and how many may be: of its cgroups and
/// the machine, of the one of which the largest part is used.
pub(crate) struct BudgetCollector {
    memory: Gauges,
    processes: Gauges,
}

struct Gauges {
    used: IntGauge,
    limit: IntGauge,
}

impl Gauges {
    fn new(unit: &str, used: &str, limit: &str) -> Result<Self> {
        let name = format!("pvf_budget_{unit}");
        Ok(Self { used: IntGauge::new(&name, used)?, limit: IntGauge::new(format!("{name}_limit"), limit)? })
    }

    fn collect(&self, budget: Option<Budget>) -> Vec<MetricFamily> {
        let Some(Budget { used, limit }) = budget else { return Vec::new() };
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.used.set(number(used));
        self.limit.set(number(limit));
        [&self.used, &self.limit].into_iter().flat_map(Collector::collect).collect()
    }

    fn desc(&self) -> impl Iterator<Item = &Desc> {
        [&self.used, &self.limit].into_iter().flat_map(Collector::desc)
    }
}

impl BudgetCollector {
    pub(crate) fn new() -> Result<Self> {
        let memory = Gauges::new(
            "memory_bytes",
            "Memory that is used of pvf_budget_memory_bytes_limit, without file contents that the kernel can drop, bytes.",
            "Memory that the cgroup of which the largest part is used may have, of those of this process, or the machine, \
             bytes.",
        )?;
        let processes = Gauges::new(
            "processes",
            "Processes and threads that there are, of pvf_budget_processes_limit.",
            "Processes and threads that the cgroup of which the largest part is used may have, of those of this process, \
             or the machine.",
        )?;
        Ok(Self { memory, processes })
    }
}

impl Collector for BudgetCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.memory.desc().chain(self.processes.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let CgroupBudgets { memory, processes } = CgroupBudgets::of_this_process();
        let mut families = self.memory.collect(Budget::tightest(memory.into_iter().chain(machine_memory())));
        let processes = processes.into_iter().chain(machine_processes());
        families.extend(self.processes.collect(Budget::tightest(processes)));
        families
    }
}

/// The memory of the machine, and what of it is not available to new processes.
fn machine_memory() -> Option<Budget> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let bytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? * 1024)
    };
    let limit = bytes("MemTotal")?;
    Some(Budget { used: limit.saturating_sub(bytes("MemAvailable")?), limit })
}

/// The threads of the machine, and how many there may be.
fn machine_processes() -> Option<Budget> {
    let limit = |name: &str| fs::read_to_string(format!("/proc/sys/kernel/{name}")).ok()?.trim().parse::<u64>().ok();
    let loads = fs::read_to_string("/proc/loadavg").ok()?;
    // "0.20 0.18 0.12 1/80 11206": running and existing threads are the fourth.
    let used = loads.split(' ').nth(3)?.split_once('/')?.1.parse().ok()?;
    Some(Budget { used, limit: limit("pid_max")?.min(limit("threads-max")?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_under_some_limit_of_memory_and_of_processes() {
        let families = BudgetCollector::new().unwrap().collect();
        let values: Vec<_> =
            families.iter().map(|family| (family.name(), family.get_metric()[0].get_gauge().get_value())).collect();
        let names: Vec<_> = values.iter().map(|(name, _)| *name).collect();
        assert_eq!(
            names,
            [
                "pvf_budget_memory_bytes",
                "pvf_budget_memory_bytes_limit",
                "pvf_budget_processes",
                "pvf_budget_processes_limit"
            ]
        );
        for pair in values.chunks(2) {
            assert!(pair[0].1 >= 1.0 && pair[0].1 <= pair[1].1, "{pair:?}");
        }
    }

    #[test]
    fn the_machine_has_a_budget() {
        let (memory, processes) = (machine_memory().unwrap(), machine_processes().unwrap());
        assert!(memory.used < memory.limit && memory.limit > 64 << 20, "{memory:?}");
        assert!(processes.used < processes.limit && processes.used > 0, "{processes:?}");
    }
}
