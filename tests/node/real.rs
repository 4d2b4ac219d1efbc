//! The candidates of a real parachain, good and bad, through the real host with a fleet's workers.

use super::{FLEET_HOST, Setup, driver::Candidate, table::Table};
use parity_scale_codec::Encode as _;
use pvf_tests::real::{Case, Expect, Folder};
use std::time::Duration;

/// A candidate of the parachain, with its PoV as a collator sends it.
pub fn candidate(setup: &Setup, folder: &Folder, case: &Case) -> Result<Candidate, String> {
    let request = folder.as_sent(case)?;
    Ok(Candidate {
        parent_head: request.context.parent_head.to_vec(),
        relay_parent_number: request.context.relay_parent_number,
        root: request.context.relay_parent_storage_root.0,
        block_data: setup.driver.file(&request.block_data),
        timeout: Duration::from_secs(2),
        kind: "backing",
        v3: false,
    })
}

pub async fn run(setup: &Setup, folder: &Folder) -> Result<Table, String> {
    let mut table = Table::new("A real parachain's candidates through the real host", &["the fleet's workers"]);
    let [compressed, plain] = folder.codes()?;
    for (name, code) in [("compressed code", compressed), ("decompressed code", plain)] {
        let code = setup.driver.code(&code);
        let answer = setup.driver.precheck(FLEET_HOST, &code).await;
        table.add(format!("{name}: precheck"), "ok", &[answer.short()], answer.outcome == "ok");
        let (mut right, mut wrong) = (0, Vec::new());
        for case in folder.cases() {
            let answer = setup.driver.execute(FLEET_HOST, &code, &candidate(setup, folder, case)?).await;
            let expected = folder.result(case)?.map(|result| hex::encode(result.encode())).unwrap_or_default();
            let fine = match case.expect {
                Expect::Valid => answer.outcome == "valid" && answer.result == expected,
                Expect::Invalid => answer.outcome == "invalid",
            };
            if fine { right += 1 } else { wrong.push(format!("{}: {}", case.name, answer.short())) }
        }
        let all = folder.cases().len();
        let seen = format!("{right} right {}", wrong.join(", "));
        table.add(
            format!("{name}: {all} candidates, results to the byte"),
            format!("{all} right"),
            &[seen],
            right == all && all > 100,
        );
    }
    Ok(table)
}
