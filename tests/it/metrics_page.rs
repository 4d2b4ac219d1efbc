//! `docs/operate/metrics.md` lists every metric that a fleet exports, as its roles describe them. `PVF_BLESS=1` writes
//! the page.

use crate::{
    http::{fleet_with_endpoints, get},
    repository::root,
};
use pvf_shared::http::OWN_LABELS;
use pvf_tests::requests::{adder, good_block};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    net::SocketAddr,
};

/// A metric as a role describes it.
struct Family {
    help: String,
    kind: String,
    labels: BTreeSet<String>,
}

fn families(address: SocketAddr) -> BTreeMap<String, Family> {
    let (status, text) = get(address, "/metrics").expect("an answer");
    assert_eq!(status, 200);
    let mut families = BTreeMap::<String, Family>::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
            let family = Family { help: help.to_owned(), kind: String::new(), labels: BTreeSet::new() };
            families.insert(name.to_owned(), family);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            families.get_mut(name).expect("a help before the type").kind = kind.to_owned();
        } else if let Some((name, labels)) = line.split_once('{') {
            let family = ["_bucket", "_sum", "_count", ""].into_iter().find_map(|end| {
                let name = name.strip_suffix(end)?;
                families.contains_key(name).then(|| name.to_owned())
            });
            let family = families.get_mut(&family.expect("a family")).unwrap();
            let labels = labels.split_once('}').unwrap().0.split("\",");
            let names = labels.filter_map(|label| label.split_once("=\"")).map(|(name, _)| name.to_owned());
            family.labels.extend(names.filter(|name| name != "le"));
        }
    }
    families
}

fn table(of: &BTreeMap<String, Family>) -> String {
    let mut rows = String::from("| metric | type | labels | meaning |\n|---|---|---|---|\n");
    for (name, Family { help, kind, labels }) in of {
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        writeln!(rows, "| `{name}` | {kind} | {} | {} |", labels.join(", "), help.replace('|', "\\|")).unwrap();
    }
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_about_metrics_has_every_metric_as_its_role_describes_it() {
    let (fleet, [coordinator, prepare, execute]) = fleet_with_endpoints().await;
    fleet.host.execute_pvf(adder(), good_block()).await.unwrap();
    let [mut coordinator, mut worker] = [coordinator, execute].map(families);
    for (name, family) in coordinator.iter().chain(&worker) {
        let label = family.labels.iter().find(|label| !OWN_LABELS.contains(&label.as_str()));
        assert_eq!(label, None, "{name}: --metrics-label must not take the place of this label");
    }
    let of_worker: BTreeSet<_> = worker.keys().cloned().collect();
    assert_eq!(of_worker, families(prepare).into_keys().collect(), "both kinds of workers have the same metrics");
    let common: BTreeSet<_> = of_worker.into_iter().filter(|name| coordinator.contains_key(name)).collect();
    let take = |from: &mut BTreeMap<String, Family>| -> BTreeMap<String, Family> {
        common.iter().map(|name| (name.clone(), from.remove(name).unwrap())).collect()
    };
    let every = take(&mut coordinator);
    take(&mut worker);
    let page = format!(
        "# Metrics\n\nEach metric of the coordinator and of the workers, as their help texts describe it. A test writes \
         this page. `docs/operate/monitoring.md` says what to do with them. Those of a node's service (`pvf node serve \
         --http`) begin with `pvf_node_`; see [the node page](../integrate/node.md).\n\n\
         ## Coordinator\n\n{}\n## Workers\n\nThe label `kind` of each is `prepare` or `execute`.\n\n{}\n## Every \
         process\n\n{}",
        table(&coordinator),
        table(&worker),
        table(&every)
    );
    let path = root().join("docs/operate/metrics.md");
    if std::env::var_os("PVF_BLESS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    let (written, page): (Vec<&str>, Vec<&str>) = (written.lines().collect(), page.lines().collect());
    let missing: Vec<_> = page.iter().filter(|line| !written.contains(line)).collect();
    let other: Vec<_> = written.iter().filter(|line| !page.contains(line)).collect();
    assert!(missing.is_empty() && other.is_empty(), "missing {missing:#?}\nnot so {other:#?}\nPVF_BLESS=1 writes it");
}
