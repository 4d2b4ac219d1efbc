//! Times through the real host: its own workers and a fleet's, alternating, in one run on one machine.

use super::{
    FLEET_HOST, OWN_HOST, Setup,
    driver::{Candidate, Code},
    real,
    table::Table,
};
use pvf_guests::{adder::Head, corpus};
use pvf_tests::{
    bench::{median, quantile},
    real::{Expect, Folder},
};
use std::time::{Duration, Instant};

/// Functions of the guest whose artifact has 19 MiB.
const FUNCTIONS: u32 = 6000;
/// Validations at the same time, for the throughput.
const PARALLEL: usize = 16;

struct Run<'a> {
    setup: &'a Setup,
    table: Table,
    calls: u64,
}

pub async fn run(setup: &Setup, folder: &Folder, calls: u64) -> Result<Table, String> {
    let table = Table::new("Times through the real host", &["its own workers", "the fleet's workers", "ratio"]);
    let mut run = Run { setup, table, calls };
    let large =
        Code { prepare_timeout: Duration::from_secs(360), ..setup.driver.code(&corpus::large(FUNCTIONS).into()) };
    let empty = Candidate {
        parent_head: Head::genesis().encode(),
        relay_parent_number: 7,
        root: [1; 32],
        block_data: setup.driver.file(b"block"),
        timeout: Duration::from_secs(12),
        kind: "approval",
        v3: false,
    };
    run.restart("19 MiB artifact", &large, &empty).await?;
    run.warm("19 MiB artifact", &large, &empty, 8.0).await?;
    let [compressed, _] = folder.codes()?;
    let parachain = Code { prepare_timeout: Duration::from_secs(360), ..setup.driver.code(&compressed) };
    let valid = folder.cases().iter().find(|case| case.expect == Expect::Valid).ok_or("a valid candidate")?;
    // Decompressed: what is behind a compressed PoV would be an error.
    let block_data = folder.decompressed(valid)?.ok_or("a PoV that decompresses")?.block_data;
    let candidate = Candidate {
        timeout: Duration::from_secs(12),
        kind: "approval",
        block_data: setup.driver.file(&block_data),
        ..real::candidate(setup, folder, valid)?
    };
    run.restart("real parachain", &parachain, &candidate).await?;
    run.warm("real parachain", &parachain, &candidate, 1.0).await?;
    Ok(run.table)
}

impl Run<'_> {
    /// The first validation after the node is restarted, with a fleet that has the code.
    async fn restart(&mut self, name: &str, code: &Code, candidate: &Candidate) -> Result<(), String> {
        let mut seconds = Vec::new();
        for host in [OWN_HOST, FLEET_HOST] {
            // The code was validated before, by this node or by another one of the fleet.
            valid(&self.setup.driver.execute(host, code, candidate).await)?;
            self.setup.start_host(host).await?;
            let prepared = self.setup.fleet.status().await.prepared;
            let answer = self.setup.driver.execute(host, code, candidate).await;
            valid(&answer)?;
            let again = self.setup.fleet.status().await.prepared - prepared;
            if host == FLEET_HOST {
                let what = format!("{name}: compilations of the fleet after a restart of the node");
                self.table.add(what, "0", &[String::new(), again.to_string(), String::new()], again == 0);
            }
            seconds.push(answer.ms / 1e3);
        }
        let cells = [format!("{:.2} s", seconds[0]), format!("{:.3} s", seconds[1]), ratio(seconds[0], seconds[1])];
        self.table.add(
            format!("{name}: first validation after a restart of the node"),
            "",
            &cells,
            seconds[1] < seconds[0],
        );
        Ok(())
    }

    /// Validations of an artifact that is there, one at a time, and many.
    async fn warm(&mut self, name: &str, code: &Code, candidate: &Candidate, least: f64) -> Result<(), String> {
        let mut times = [Vec::new(), Vec::new()];
        // Each with other inputs, so that nothing is answered from what was answered before.
        let candidates: Vec<_> = (0..self.calls).map(|n| self.distinct(candidate, n)).collect::<Result<_, _>>()?;
        for candidate in &candidates {
            for (host, times) in [OWN_HOST, FLEET_HOST].into_iter().zip(&mut times) {
                let answer = self.setup.driver.execute(host, code, candidate).await;
                valid(&answer)?;
                times.push(answer.ms);
            }
        }
        let [own, fleet] = times.each_mut().map(|times| median(times));
        let cells = [format!("{own:.2} ms"), format!("{fleet:.2} ms"), ratio(own, fleet)];
        let expected = if least > 1.0 { format!("at least {least} x") } else { String::new() };
        self.table.add(format!("{name}: one at a time, median"), expected, &cells, own / fleet >= least);
        let [own, fleet] = times.each_mut().map(|times| quantile(times, 990));
        let cells = [format!("{own:.2} ms"), format!("{fleet:.2} ms"), ratio(own, fleet)];
        self.table.add(format!("{name}: one at a time, 99 %"), "", &cells, true);
        let mut rates = Vec::new();
        for host in [OWN_HOST, FLEET_HOST] {
            let began = Instant::now();
            let mut done = 0;
            for part in candidates.chunks(PARALLEL) {
                let all = part.iter().map(|candidate| self.setup.driver.execute(host, code, candidate));
                for answer in futures::future::join_all(all).await {
                    valid(&answer)?;
                    done += 1;
                }
            }
            rates.push(f64::from(done) / began.elapsed().as_secs_f64());
        }
        let cells = [format!("{:.0} /s", rates[0]), format!("{:.0} /s", rates[1]), ratio(rates[1], rates[0])];
        self.table.add(format!("{name}: {PARALLEL} at a time"), "", &cells, rates[1] > rates[0]);
        Ok(())
    }

    /// The same candidate with other bytes behind its block data, which both guests ignore.
    fn distinct(&self, candidate: &Candidate, n: u64) -> Result<Candidate, String> {
        let mut bytes = std::fs::read(&candidate.block_data).map_err(|e| e.to_string())?;
        bytes.extend(n.to_le_bytes());
        Ok(Candidate { block_data: self.setup.driver.file(&bytes), ..candidate.clone() })
    }
}

fn ratio(more: f64, less: f64) -> String {
    format!("{:.1} x", more / less)
}

fn valid(answer: &super::driver::Answer) -> Result<(), String> {
    if answer.outcome == "valid" { Ok(()) } else { Err(format!("{}: {}", answer.outcome, answer.reason)) }
}
