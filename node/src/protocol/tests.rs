use super::*;
use pvf_shared::{
    candidate::ValidationResult,
    params::{ExecutorParam, ExecutorParams, PvfExecKind},
};
use std::time::Duration;

fn scale(parts: &[&str]) -> Vec<u8> {
    hex::decode(parts.concat()).unwrap()
}

/// `Duration`: seconds as u64, nanoseconds as u32.
const TWO_SECONDS_AND_A_HALF: &str = "02000000000000000065cd1d";

#[test]
fn golden_prepare_request() {
    let request = PrepareRequest {
        code: Bytes::from_static(b"abc"),
        code_bomb_limit: 30 << 20,
        code_hash: [7; 32],
        executor_params: ExecutorParams(vec![ExecutorParam::PvfExecTimeout(PvfExecKind::Backing, 2500)]),
        timeout: Duration::from_millis(2500),
        kind: PrepareJobKind::Prechecking,
    };
    let hash = "07".repeat(32);
    let bytes = scale(&["0c616263", "0000e001", &hash, "040600c409000000000000", TWO_SECONDS_AND_A_HALF, "01"]);
    assert_eq!(hex::encode(request.encode()), hex::encode(&bytes));
    assert_eq!(decode::<PrepareRequest>("request", &bytes.into()), Ok(request));
}

#[test]
fn golden_execute_request() {
    let request = ExecuteRequest {
        parent_head: Bytes::from_static(&[1]),
        relay_parent_number: 2,
        relay_parent_storage_root: [3; 32],
        max_pov_size: 4,
        block_data: Bytes::from_static(&[5, 6]),
        timeout: Duration::from_millis(2500),
        artifact_checksum: [7; 32],
        relay_parent: [8; 32],
        scheduling_parent: [9; 32],
        descriptor_version: DescriptorVersion::Unknown(255),
    };
    let all = |byte: &str| byte.repeat(32);
    let bytes = scale(&[
        "0401",
        "02000000",
        &all("03"),
        "04000000",
        "080506",
        TWO_SECONDS_AND_A_HALF,
        &all("07"),
        &all("08"),
        &all("09"),
        "03ff",
    ]);
    assert_eq!(hex::encode(request.encode()), hex::encode(&bytes));
    assert_eq!(decode::<ExecuteRequest>("request", &bytes.clone().into()), Ok(request.clone()));
    let v3 = ExecuteRequest { descriptor_version: DescriptorVersion::V3, ..request };
    assert_eq!(v3.encode().last(), Some(&2));
}

#[test]
fn golden_answers_of_an_execute_worker() {
    let valid = ValidationResult {
        head_data: vec![1],
        new_validation_code: None,
        upward_messages: vec![],
        horizontal_messages: vec![],
        processed_downward_messages: 0,
        hrmp_watermark: 1,
    };
    let executed = |response| Ok(Executed { response, cpu_time: Duration::from_millis(2500), pov_size: 5 });
    let internal = "706f6e79"; // "pony"
    let end = [TWO_SECONDS_AND_A_HALF, "05000000"].concat();
    let answers: [(ExecuteAnswer, String); 9] = [
        (executed(JobResponse::Valid(valid)), format!("00000401000000{}{end}", "0000000001000000")),
        (executed(JobResponse::RuntimeConstruction("pony".into())), format!("000110{internal}{end}")),
        (executed(JobResponse::InvalidCandidate("pony".into())), format!("000210{internal}{end}")),
        (executed(JobResponse::PovDecompression), format!("0003{end}")),
        (executed(JobResponse::CorruptedArtifact), format!("0004{end}")),
        (Err(WorkerError::JobTimedOut), "0100".into()),
        (Err(WorkerError::JobDied { error: "pony".into(), pid: 0 }), format!("010110{internal}00000000")),
        (Err(WorkerError::JobError(JobError::Panic("pony".into()))), format!("01020110{internal}")),
        (Err(WorkerError::internal("x")), format!("01030030{}", hex::encode("pvf-fleet: x"))),
    ];
    for (answer, expected) in answers {
        assert_eq!(hex::encode(answer.encode()), expected, "{answer:?}");
        assert_eq!(decode::<ExecuteAnswer>("answer", &answer.encode().into()), Ok(answer));
    }
}

#[test]
fn golden_answers_of_a_prepare_worker() {
    let memory = MemoryStats { allocator: None, max_rss: Some(6), peak_allocated: 7 };
    let prepared = Prepared { checksum: [1; 32], cpu_time: Duration::from_millis(2500), memory, code_len: 8 };
    let stats = "000106000000000000000700000000000000";
    let ok = ["00", &"01".repeat(32), TWO_SECONDS_AND_A_HALF, stats, "08000000"].concat();
    let text = "10706f6e79";
    let pony = || String::from("pony");
    let answers: [(PrepareAnswer, String); 11] = [
        (Ok(prepared), ok),
        (Err(PrepareError::Prevalidation(pony())), format!("0100{text}")),
        (Err(PrepareError::Preparation(pony())), format!("0101{text}")),
        (Err(PrepareError::RuntimeConstruction(pony())), format!("0102{text}")),
        (Err(PrepareError::JobError(pony())), format!("0103{text}")),
        (Err(PrepareError::TimedOut), "0104".into()),
        (Err(PrepareError::Io(pony())), format!("0105{text}")),
        (Err(PrepareError::OutOfMemory), "0108".into()),
        (Err(PrepareError::JobDied { error: pony(), pid: 0 }), format!("010a{text}00000000")),
        (Err(PrepareError::Kernel(pony())), format!("010b{text}")),
        (Err(PrepareError::CouldNotDecompress(pony())), format!("010c{text}")),
    ];
    for (answer, expected) in answers {
        assert_eq!(hex::encode(answer.encode()), expected, "{answer:?}");
    }
}

#[test]
fn a_message_of_another_version_is_refused() {
    let handshake = Handshake {
        secure_validator_mode: true,
        landlock: false,
        seccomp: true,
        change_root: true,
        secure_clone: false,
    };
    assert_eq!(handshake.encode(), [1, 0, 1, 1, 0]);
    let decoded = |bytes: &'static [u8]| decode::<Handshake>("handshake", &Bytes::from_static(bytes));
    assert_eq!(decoded(&[1, 0, 1, 1, 0]), Ok(handshake));
    assert_eq!(decoded(&[1, 0, 1, 1, 0, 1]), Err(Malformed::LeftOver { what: "handshake", left: 1 }));
    assert!(matches!(decoded(&[1, 0, 1]), Err(Malformed::Undecodable { .. })));
}

#[tokio::test]
async fn frames_round_trip_and_are_bounded() {
    let mut stream = Vec::new();
    write_frame(&mut stream, b"abc").await.unwrap();
    assert_eq!(stream, b"\x03\0\0\0\0\0\0\0abc");
    let mut rest = &stream[..];
    assert_eq!(read_frame(&mut rest).await.unwrap().unwrap().message, &b"abc"[..]);
    assert!(read_frame(&mut rest).await.unwrap().is_none());
    assert!(read_frame(&mut &stream[..5]).await.is_err());
    let error = read_frame(&mut &u64::MAX.to_le_bytes()[..]).await.unwrap_err();
    assert!(error.to_string().contains("over the limit"), "{error}");
}
