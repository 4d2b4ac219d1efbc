//! The interface `misc`.

use crate::{
    call::{Gives, Subject, host_functions, slice, word},
    guest::Random,
};
use parity_scale_codec::{Decode as _, Encode as _};
use pvf_shared::params::ExecutorParam;

const PARAMS: &[ExecutorParam] = &[];
/// Id of the runtime API `Core`, whose version says which fields a runtime's version has.
const CORE: [u8; 8] = [0xdf, 0x6a, 0xcb, 0x68, 0x99, 0x07, 0x60, 0x9b];

type Apis = Vec<([u8; 8], u32)>;

/// Prints these bytes; printing is never an error, whatever they are.
async fn prints(subject: Subject) {
    for (case, bytes) in [
        ("nothing", vec![]),
        ("text", b"text".to_vec()),
        ("no text", vec![0xff, 0xfe]),
        ("a megabyte", Random(1).bytes(1 << 20)),
    ] {
        subject.gives(case, &[slice(bytes)], b"").await;
    }
    subject.refuses("bytes beyond memory", &[word(0xffff_fff0_ffff_fff0)], "memory read is out of bounds").await;
}

/// A runtime whose custom sections say this version and these APIs.
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

/// A version as the oldest runtimes have it, with these APIs.
fn oldest(apis: &Apis) -> Vec<u8> {
    ("spec", "impl", 1_u32, 2_u32, 3_u32, apis).encode()
}

/// What the host is to say of it.
fn latest(apis: &Apis, transaction: u32, system: u8) -> Vec<u8> {
    Some([oldest(apis), transaction.encode(), vec![system]].concat()).encode()
}

host_functions! {
    ext_misc_print_num_version_1 gives Gives::Nothing, |it| {
        for number in [0, 1, u64::MAX] {
            it.gives(&number.to_string(), &[word(number)], b"").await;
        }
    }
    ext_misc_print_utf8_version_1 gives Gives::Nothing, |it| { prints(it).await; }
    ext_misc_print_hex_version_1 gives Gives::Nothing, |it| { prints(it).await; }
    ext_misc_runtime_version_version_1 gives Gives::Slice, |it| {
        let it = it.without_native();
        let api = |version: u32| vec![(CORE, version)];
        let section = |version: u32| (CORE, version).encode();
        let none = Option::<Vec<u8>>::None.encode();
        let newest = [oldest(&vec![]), 7_u32.encode(), vec![1]].concat();
        for (case, wasm, expected) in [
            ("Core 2: neither field", runtime(&oldest(&vec![]), Some(&section(2))), latest(&api(2), 1, 0)),
            ("Core 3: a transaction version", runtime(&newest, Some(&section(3))), latest(&api(3), 7, 0)),
            ("Core 4: a system version as well", runtime(&newest, Some(&section(4))), latest(&api(4), 7, 1)),
            ("APIs in the version itself", runtime(&oldest(&api(2)), None), latest(&api(2), 1, 0)),
            ("Core 4 without its fields", runtime(&oldest(&vec![]), Some(&section(4))), none.clone()),
            ("a cut version", runtime(&oldest(&vec![])[..5], Some(&section(2))), none.clone()),
            ("a cut API", runtime(&oldest(&vec![]), Some(&section(2)[..11])), none.clone()),
            ("no sections", b"\0asm\x01\0\0\0".to_vec(), none.clone()),
            ("no wasm", b"rubbish".to_vec(), none.clone()),
            ("nothing", vec![], none.clone()),
        ] {
            it.gives(case, &[slice(&wasm)], &expected).await;
            if expected == none {
                continue;
            }
            let packed = sp_maybe_compressed_blob::compress_weakly(&wasm, wasm.len()).unwrap();
            it.gives(&format!("{case}, compressed"), &[slice(packed)], &expected).await;
            assert!(Option::<Vec<u8>>::decode(&mut &expected[..]).unwrap().is_some());
        }
    }
}
