//! Memory and descriptors of the processes of a run.

use super::members::{Member, State};
use serde::Serialize;
use std::{collections::BTreeMap, fmt::Write as _, fs, time::Instant};

/// What a process had at one moment.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Sample {
    /// Seconds after the first sample.
    pub at: f64,
    /// Resident memory, MiB.
    pub mib: f64,
    /// Open descriptors.
    pub descriptors: usize,
}

/// Samples of all processes, by member and process id.
#[derive(Debug, Default)]
pub struct Samples {
    start: Option<Instant>,
    of: BTreeMap<(String, i32), Vec<Sample>>,
}

/// How a process that lived long enough changed.
#[derive(Debug, Clone, Serialize)]
pub struct Trend {
    /// Its member.
    pub member: String,
    /// How long it was observed, seconds.
    pub seconds: f64,
    /// Median of its memory in the second and in the last quarter of that time, MiB.
    pub mib: [f64; 2],
    /// Median of its descriptors in these.
    pub descriptors: [f64; 2],
}

/// What a chart shows of a sample.
type Value = fn(&Sample) -> f64;

fn sample(pid: i32, at: f64) -> Option<Sample> {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: f64 = statm.split(' ').nth(1)?.parse().ok()?;
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count();
    Some(Sample { at, mib: pages * rustix::param::page_size() as f64 / 1_048_576.0, descriptors })
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut all: Vec<_> = values.collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied().unwrap_or_default()
}

impl Samples {
    /// Takes one of each process that runs.
    pub fn take(&mut self, members: &[Member]) {
        let at = self.start.get_or_insert_with(Instant::now).elapsed().as_secs_f64();
        for member in members.iter().filter(|member| member.state == State::Up) {
            if let Some(pid) = member.pid()
                && let Some(sample) = sample(pid, at)
            {
                self.of.entry((member.name(), pid)).or_default().push(sample);
            }
        }
    }

    /// How processes changed that were observed for this long.
    pub fn trends(&self, at_least: f64) -> Vec<Trend> {
        let long = self.of.iter().filter_map(|((member, _), samples)| {
            let (first, last) = (samples.first()?.at, samples.last()?.at);
            let seconds = last - first;
            let quarter = |from: f64, to: f64| {
                samples.iter().filter(move |one| (first + seconds * from..=first + seconds * to).contains(&one.at))
            };
            let [early, late] = [(0.25, 0.5), (0.75, 1.0)];
            let mib = [early, late].map(|(from, to)| median(quarter(from, to).map(|one| one.mib)));
            let descriptors = [early, late].map(|(from, to)| median(quarter(from, to).map(|s| s.descriptors as f64)));
            (seconds >= at_least).then(|| Trend { member: member.clone(), seconds, mib, descriptors })
        });
        long.collect()
    }

    /// A picture: memory above, descriptors below, one line for each process.
    pub fn picture(&self) -> String {
        const WIDTH: f64 = 900.0;
        const HEIGHT: f64 = 260.0;
        let all = || self.of.values().flatten();
        let end = all().map(|one| one.at).fold(1.0, f64::max);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" \
             font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
            WIDTH + 200.0,
            HEIGHT * 2.0 + 80.0
        );
        let names: std::collections::BTreeSet<_> = self.of.keys().map(|(name, _)| name.as_str()).collect();
        let colour = |name: &str| {
            let n = names.iter().position(|one| *one == name).unwrap_or_default();
            format!("hsl({} 70% 40%)", n * 360 / names.len().max(1))
        };
        let charts: [(&str, Value); 2] =
            [("resident memory, MiB", |one| one.mib), ("descriptors", |one| one.descriptors as f64)];
        for (n, (title, value)) in charts.into_iter().enumerate() {
            let top = 25.0 + n as f64 * (HEIGHT + 40.0);
            let most = all().map(value).fold(1.0, f64::max);
            let _ = writeln!(svg, "<text x=\"10\" y=\"{}\">{title}, up to {most:.0}; {end:.0} s</text>", top - 8.0);
            let _ = writeln!(
                svg,
                "<rect x=\"10\" y=\"{top}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"none\" stroke=\"#999\"/>"
            );
            for ((name, _), samples) in &self.of {
                let at = |one: &Sample| (10.0 + one.at / end * WIDTH, top + HEIGHT * (1.0 - value(one) / most));
                let points: Vec<_> = samples.iter().map(at).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
                let _ = writeln!(
                    svg,
                    "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\"/>",
                    points.join(" "),
                    colour(name)
                );
            }
        }
        for (n, name) in names.iter().enumerate() {
            let y = 40.0 + n as f64 * 16.0;
            let _ = writeln!(svg, "<text x=\"{}\" y=\"{y}\" fill=\"{}\">{name}</text>", WIDTH + 25.0, colour(name));
        }
        svg.push_str("</svg>\n");
        svg
    }
}
