//! How far preparations have come.

use super::*;

const PROGRESS: CompileProgress = CompileProgress { compiled: 812, functions: 3456 };

pub(super) fn add_golden(golden: &mut GoldenMessages) {
    let compiling = vec![Compiling { attempt: running_job(), progress: PROGRESS }];
    let heartbeat = Heartbeat { running: vec![running_job()], compiling, ..Heartbeat::default() };
    golden.add("heartbeat compiling", &FromWorker::Heartbeat(heartbeat));
    let compiling = vec![CompilingRequest { request: RequestId(uuid(1)), job: JobId(18), progress: PROGRESS }];
    golden.add("ask reply compiling", &AskReply { unknown: vec![], compiling });
}

#[test]
fn no_more_functions_are_compiled_than_there_are() {
    let shown = |compiled| CompileProgress { compiled, functions: 3 }.plausible().to_string();
    assert_eq!(shown(2), "2 of 3 functions compiled");
    assert_eq!(shown(u32::MAX), "3 of 3 functions compiled");
    let most = CompileProgress { compiled: u32::MAX, functions: u32::MAX };
    assert_eq!(most.and(PROGRESS), most);
}
