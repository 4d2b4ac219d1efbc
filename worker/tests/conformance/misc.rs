//! The host interface `misc`.

use crate::{
    call::{Output, Subject, host_functions, slice, word},
    guest::Random,
};
use parity_scale_codec::{Decode as _, Encode as _};
use pvf_shared::params::ExecutorParam;

const PARAMS: &[ExecutorParam] = &[];
/// Id of the runtime API `Core`, whose version determines the fields of a runtime's version.
const CORE: [u8; 8] = [0xdf, 0x6a, 0xcb, 0x68, 0x99, 0x07, 0x60, 0x9b];

type Apis = Vec<([u8; 8], u32)>;

/// Printing accepts any bytes, in any amount.
async fn prints(subject: Subject) {
    for (case, bytes) in [
        ("no bytes", vec![]),
        ("text", b"text".to_vec()),
        ("invalid UTF-8", vec![0xff, 0xfe]),
        ("a megabyte", Random(1).bytes(1 << 20)),
    ] {
        subject.outputs(case, &[slice(bytes)], b"").await;
    }
    subject.rejects("bytes beyond memory", &[word(0xffff_fff0_ffff_fff0)], "memory read is out of bounds").await;
}

/// A runtime with these contents of its custom sections for version and APIs.
fn runtime(version: &[u8], apis: Option<&[u8]>) -> Vec<u8> {
    let mut wasm = b"\0asm\x01\0\0\0".to_vec();
    for (name, payload) in [("runtime_version", Some(version)), ("runtime_apis", apis)] {
        let Some(payload) = payload else { continue };
        let body = [&[name.len() as u8], name.as_bytes(), payload].concat();
        assert!(body.len() < 0x80, "a length of one byte");
        wasm.extend([0, body.len() as u8]);
        wasm.extend(body);
    }
    wasm
}

/// A version in the oldest layout, with these APIs.
fn oldest(apis: &Apis) -> Vec<u8> {
    ("spec", "impl", 1_u32, 2_u32, 3_u32, apis).encode()
}

/// The host's result for such a version: the latest layout, as an option.
fn latest(apis: &Apis, transaction: u32, system: u8) -> Vec<u8> {
    Some([oldest(apis), transaction.encode(), vec![system]].concat()).encode()
}

host_functions! {
    ext_misc_print_num_version_1 -> Output::Nothing, |it| {
        for number in [0, 1, u64::MAX] {
            it.outputs(&number.to_string(), &[word(number)], b"").await;
        }
    }
    ext_misc_print_utf8_version_1 -> Output::Nothing, |it| { prints(it).await; }
    ext_misc_print_hex_version_1 -> Output::Nothing, |it| { prints(it).await; }
    ext_misc_runtime_version_version_1 -> Output::Slice, |it| {
        let it = it.without_native();
        let api = |version: u32| vec![(CORE, version)];
        let section = |version: u32| (CORE, version).encode();
        let none = Option::<Vec<u8>>::None.encode();
        let newest = [oldest(&vec![]), 7_u32.encode(), vec![1]].concat();
        for (case, wasm, expected) in [
            ("Core 2: neither field", runtime(&oldest(&vec![]), Some(&section(2))), latest(&api(2), 1, 0)),
            ("Core 3: transaction version", runtime(&newest, Some(&section(3))), latest(&api(3), 7, 0)),
            ("Core 4: transaction and system version", runtime(&newest, Some(&section(4))), latest(&api(4), 7, 1)),
            ("APIs in the version itself", runtime(&oldest(&api(2)), None), latest(&api(2), 1, 0)),
            ("Core 4 without its fields", runtime(&oldest(&vec![]), Some(&section(4))), none.clone()),
            ("a truncated version", runtime(&oldest(&vec![])[..5], Some(&section(2))), none.clone()),
            ("a truncated API", runtime(&oldest(&vec![]), Some(&section(2)[..11])), none.clone()),
            ("no sections", b"\0asm\x01\0\0\0".to_vec(), none.clone()),
            ("not wasm", b"rubbish".to_vec(), none.clone()),
            ("no bytes", vec![], none.clone()),
        ] {
            it.outputs(case, &[slice(&wasm)], &expected).await;
            if expected == none {
                continue;
            }
            let packed = sp_maybe_compressed_blob::compress_weakly(&wasm, wasm.len()).unwrap();
            it.outputs(&format!("{case}, compressed"), &[slice(packed)], &expected).await;
            assert!(Option::<Vec<u8>>::decode(&mut &expected[..]).unwrap().is_some());
        }
    }
}
