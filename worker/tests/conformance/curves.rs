//! The elliptic-curve functions of RFC 163, which the executor parameter `EnabledHostFunction(EccRfc163)` enables:
//! known multiples of the generators, the laws of groups and of the pairing, and the error codes.

use crate::{
    call::{Arg, CallResult, Output, Subject, host_functions, slice, word},
    guest::hex,
};
use pvf_shared::params::{ExecutorParam, HostFunctionSet};

pub const ENABLED: ExecutorParam = ExecutorParam::EnabledHostFunction(HostFunctionSet::EccRfc163);
const PARAMS: &[ExecutorParam] = &[ENABLED];

const DONE: u64 = 0;
const OUTPUT_TOO_SMALL: u64 = 1;
const DOES_NOT_DECODE: u64 = 2;
const LENGTHS_DIFFER: u64 = 3;
const DEGENERATE: u64 = 4;
const UNKNOWN: u64 = 255;

const MILLER_LOOP: &str = "ext_host_calls_bls12_381_multi_miller_loop_version_1";
const FINAL_EXPONENTIATION: &str = "ext_host_calls_bls12_381_final_exponentiation_version_1";
/// Size of an element of the pairing's target field, bytes.
const TARGET: usize = 576;

/// A group: the encodings of its generator, of seven times the generator and of the neutral element, and its order.
struct Group {
    one: Vec<u8>,
    seven: Vec<u8>,
    none: Option<Vec<u8>>,
    order: [u8; 32],
}

fn group(one: &str, seven: &str, none: Option<(usize, u8)>, order: &str) -> Group {
    let one = hex(one);
    let none = none.map(|(at, flag)| {
        let mut none = vec![0; one.len()];
        none[at] = flag;
        none
    });
    Group { seven: hex(seven), none, order: hex(order).try_into().unwrap(), one }
}

const BLS_ORDER: &str = "01000000fffffffffe5bfeff02a4bd5305d8a10908d83933487d9d2953a7ed73";

fn g1() -> Group {
    group(
        "17f1d3a73197d7942695638c4fa9ac0fc3688c4f9774b905a14e3a3f171bac586c55e83ff97a1aeffb3af00adb22c6bb\
         08b3f481e3aaa0f1a09e30ed741d8ae4fcf5e095d5d00af600db18cb2c04b3edd03cc744a2888ae40caa232946c5e7e1",
        "1928f3beb93519eecf0145da903b40a4c97dca00b21f12ac0df3be9116ef2ef27b2ae6bcd4c5bc2d54ef5a70627efcb7\
         108dadbaa4b636445639d5ae3089b3c43a8a1d47818edd1839d7383959a41c10fdc66849cfa1b08c5a11ec7e28981a1c",
        Some((0, 0x40)),
        BLS_ORDER,
    )
}

fn g2() -> Group {
    group(
        "13e02b6052719f607dacd3a088274f65596bd0d09920b61ab5da61bbdc7f5049334cf11213945d57e5ac7d055d042b7e\
         024aa2b2f08f0a91260805272dc51051c6e47ad4fa403b02b4510b647ae3d1770bac0326a805bbefd48056c8c121bdb8\
         0606c4a02ea734cc32acd2b02bc28b99cb3e287e85a763af267492ab572e99ab3f370d275cec1da1aaa9075ff05f79be\
         0ce5d527727d6e118cc9cdc6da2e351aadfd9baa8cbdd3a76d429a695160d12c923ac9cc3baca289e193548608b82801",
        "0d0273f6bf31ed37c3b8d68083ec3d8e20b5f2cc170fa24b9b5be35b34ed013f9a921f1cad1644d4bdb14674247234c8\
         049cd1dbb2d2c3581e54c088135fef36505a6823d61b859437bfc79b617030dc8b40e32bad1fa85b9c0f368af6d38d3c\
         05ecf93654b7a1885695aaeeb7caf41b0239dc45e1022be55d37111af2aecef87799638bec572de86a7437898efa7020\
         08b7ae4dbf802c17a6648842922c9467e460a71c88d393ee7af356da123a2f3619e80c3bdcc8e2b1da52f8cd9913ccdd",
        Some((0, 0x40)),
        BLS_ORDER,
    )
}

fn bandersnatch() -> Group {
    // The neutral element is (0, 1).
    group(
        "18ae52a26618e7e1658499ad22c0792bf342be7b77113774c5340b2ccc32c129\
         664197ccb667315e6064e4ee81ad8c3586d5dcba508b7d150f3e12da9e666c2a",
        "1ce2bd224acfd3302b166bd57703c57ef826c48d9b3a42f72a7cfa8014b00f30\
         e5a3d56c505ea49abc8615739aa6868bbd0d04b469e4c027e50af9cad1ec9b1d",
        Some((32, 1)),
        "e1e77628b506fd747104197400878fff007668020276ce0c525f67cad469fb1c",
    )
}

fn pallas() -> Group {
    group(
        "00000000ed302d991bf94c09fc98462200000000000000000000000000000040\
         020000000000000000000000000000000000000000000000000000000000000000",
        "998b9d02ab10540a55a6ec55855c743ee3d8f8b10232bc22cc00abb11438a419\
         ad2210c3341495b44e5cd88eb08b6e7bade02b68c34185741125cf15cbf4882380",
        Some((64, 0x40)),
        "0100000021eb468cdda89409fc98462200000000000000000000000000000040",
    )
}

fn vesta() -> Group {
    group(
        "0000000021eb468cdda89409fc98462200000000000000000000000000000040\
         020000000000000000000000000000000000000000000000000000000000000000",
        "d9b64d40adcf7b8c3155141bc2e813c9c83d49cc66c199856d118b9530ebcc37\
         d56f99936a274716a69ae7a270cd205b84b81d6143b52e7e0971509f2151f31800",
        Some((64, 0x40)),
        "01000000ed302d991bf94c09fc98462200000000000000000000000000000040",
    )
}

/// The encoding of a list: its length in eight bytes, then its entries.
fn list<T: AsRef<[u8]>>(entries: &[T]) -> Vec<u8> {
    let mut out = (entries.len() as u64).to_le_bytes().to_vec();
    entries.iter().for_each(|entry| out.extend_from_slice(entry.as_ref()));
    out
}

/// A scalar of the field.
fn scalar(n: u8) -> [u8; 32] {
    std::array::from_fn(|at| if at == 0 { n } else { 0 })
}

/// A scalar as the list of limbs that a multiplication takes.
fn limbs(scalar: &[u8; 32]) -> Vec<u8> {
    list(&scalar.chunks(8).collect::<Vec<_>>())
}

/// A buffer for an output, filled with bytes that must be overwritten.
fn room(len: usize) -> Arg {
    slice(vec![0xee; len])
}

/// The returned code, and the written bytes.
async fn run(it: &Subject, case: &str, args: &[Arg]) -> (u64, Vec<u8>) {
    match it.call(case, args).await {
        CallResult::Returned { value, bytes } => (value, bytes),
        rejected @ CallResult::Rejected(_) => panic!("{case}: {rejected:?}"),
    }
}

/// Asserts that the call succeeds and writes this point.
async fn writes(it: &Subject, case: &str, args: &[Arg], expected: &[u8]) {
    assert_eq!(run(it, case, args).await, (DONE, expected.to_vec()), "{case}");
}

/// Cases that do not depend on the group.
async fn common(it: &Subject, name: &str, good: [Arg; 2], size: usize) {
    let missing = format!("call to a missing function env:{name}");
    let args = [&good[..], &[room(size)]].concat();
    it.rejects_under(&[], "not enabled", &args, &missing).await;
    let with = |last: Arg| [good[0].clone(), good[1].clone(), last];
    it.returns("a buffer of one byte less", &with(room(size - 1)), OUTPUT_TOO_SMALL).await;
    it.returns("an empty buffer", &with(room(0)), OUTPUT_TOO_SMALL).await;
    let (code, bytes) = run(it, "a buffer of one byte more", &with(room(size + 1))).await;
    assert_eq!((code, bytes[size]), (DONE, 0), "the rest of the buffer is zeroed");
    it.rejects(
        "a buffer beyond memory",
        &with(word((size as u64) << 32 | 0xffff_fff0)),
        "memory write is out of bounds",
    )
    .await;
    for (case, first, second) in [
        ("an empty first argument", slice(b""), good[1].clone()),
        ("an empty second argument", good[0].clone(), slice(b"")),
        ("a malformed first argument", slice([0xff; 9]), good[1].clone()),
        ("a malformed second argument", good[0].clone(), slice([0xff; 9])),
    ] {
        it.returns(case, &[first, second, room(size)], DOES_NOT_DECODE).await;
    }
    let beyond = [word(0x1_ffff_ffff), good[1].clone(), room(size)];
    it.rejects("an argument beyond memory", &beyond, "memory read is out of bounds").await;
}

async fn multiplies(it: Subject, name: &str, group: Group) {
    let size = group.one.len();
    let args = |point: &[u8], scalar: &[u8; 32]| [slice(point), slice(limbs(scalar)), room(size)];
    let none = group.none.clone().unwrap();
    writes(&it, "1 G", &args(&group.one, &scalar(1)), &group.one).await;
    writes(&it, "7 G", &args(&group.one, &scalar(7)), &group.seven).await;
    writes(&it, "0 G", &args(&group.one, &scalar(0)), &none).await;
    writes(&it, "order G", &args(&group.one, &group.order), &none).await;
    writes(&it, "7 times the neutral element", &args(&none, &scalar(7)), &none).await;
    let mut once_more = group.order;
    once_more[0] += 1;
    writes(&it, "(order + 1) G", &args(&group.one, &once_more), &group.one).await;
    let few = [slice(&group.one), slice(list(&[7_u64.to_le_bytes()])), room(size)];
    writes(&it, "7 G, the scalar in one limb", &few, &group.seven).await;
    common(&it, name, [slice(&group.one), slice(limbs(&scalar(7)))], size).await;
}

async fn sums(it: Subject, name: &str, group: Group) {
    let size = group.one.len();
    let args = |points: &[&[u8]], scalars: &[[u8; 32]]| [slice(list(points)), slice(list(scalars)), room(size)];
    let (one, none) = (&group.one[..], group.none.clone().unwrap());
    writes(&it, "one term", &args(&[one], &[scalar(7)]), &group.seven).await;
    writes(&it, "3 G + 4 G", &args(&[one, one], &[scalar(3), scalar(4)]), &group.seven).await;
    writes(&it, "1 (7 G) + 5 (0 G)", &args(&[&group.seven, &none], &[scalar(1), scalar(5)]), &group.seven).await;
    writes(&it, "no terms", &args(&[], &[]), &none).await;
    let many = vec![one; 40];
    let mut scalars = vec![scalar(0); 40];
    scalars[..7].fill(scalar(1));
    writes(&it, "40 terms, 7 of them 1", &args(&many, &scalars), &group.seven).await;
    it.returns("more points than scalars", &args(&[one, one], &[scalar(1)]), LENGTHS_DIFFER).await;
    it.returns("more scalars than points", &args(&[one], &[scalar(1), scalar(1)]), LENGTHS_DIFFER).await;
    it.returns("a scalar equal to the order", &args(&[one], &[group.order]), DOES_NOT_DECODE).await;
    common(&it, name, [slice(list(&[one])), slice(list(&[scalar(7)]))], size).await;
}

/// The pairing of two lists of points, computed by guests.
async fn pairing(a: &[&[u8]], b: &[&[u8]]) -> Vec<u8> {
    let miller = Subject::new(&[MILLER_LOOP], Output::Written(2), PARAMS).await;
    let (code, product) = run(&miller, "lists", &[slice(list(a)), slice(list(b)), room(TARGET)]).await;
    assert_eq!(code, DONE);
    let last = Subject::new(&[FINAL_EXPONENTIATION], Output::Written(0), PARAMS).await;
    let (code, paired) = run(&last, "a product", &[slice(product)]).await;
    assert_eq!(code, DONE);
    paired
}

#[tokio::test]
async fn the_pairing_is_bilinear() {
    let (g, h) = (g1(), g2());
    let seven = pairing(&[&g.seven], &[&h.one]).await;
    assert_eq!(seven, pairing(&[&g.one], &[&h.seven]).await, "e(7 g, h) and e(g, 7 h)");
    assert_eq!(seven, pairing(&[&g.one[..]; 7], &[&h.one[..]; 7]).await, "e(7 g, h) and seven times e(g, h)");
    assert_ne!(seven, pairing(&[&g.one], &[&h.one]).await, "e(7 g, h) and e(g, h)");
    let one = [&[1][..], &[0; TARGET - 1]].concat();
    assert_eq!(pairing(&[], &[]).await, one, "empty lists");
    assert_eq!(pairing(&[&g.none.unwrap()], &[&h.one]).await, one, "e(0, h)");
}

host_functions! {
    ext_host_calls_bls12_381_multi_miller_loop_version_1 -> Output::Written(2), |it| {
        let one = [&[1][..], &[0; TARGET - 1]].concat();
        let none: [&[u8]; 0] = [];
        writes(&it, "empty lists", &[slice(list(&none)), slice(list(&none)), room(TARGET)], &one).await;
        common(&it, MILLER_LOOP, [slice(list(&[g1().one])), slice(list(&[g2().one]))], TARGET).await;
    }
    ext_host_calls_bls12_381_final_exponentiation_version_1 -> Output::Written(0), |it| {
        let one = [&[1][..], &[0; TARGET - 1]].concat();
        writes(&it, "1", &[slice(&one)], &one).await;
        it.returns("0", &[slice([0; TARGET])], UNKNOWN).await;
        it.returns("an element of one byte less", &[slice(&one[1..])], DOES_NOT_DECODE).await;
        it.returns("not an element", &[slice([0xff; TARGET])], DOES_NOT_DECODE).await;
        it.rejects("an element beyond memory", &[word(0x1_ffff_ffff)], "memory read is out of bounds").await;
        let missing = format!("call to a missing function env:{FINAL_EXPONENTIATION}");
        it.rejects_under(&[], "not enabled", &[slice(&one)], &missing).await;
    }
    ext_host_calls_bls12_381_msm_g1_version_1 -> Output::Written(2), |it| {
        sums(it, "ext_host_calls_bls12_381_msm_g1_version_1", g1()).await;
    }
    ext_host_calls_bls12_381_msm_g2_version_1 -> Output::Written(2), |it| {
        sums(it, "ext_host_calls_bls12_381_msm_g2_version_1", g2()).await;
    }
    ext_host_calls_bls12_381_mul_g1_version_1 -> Output::Written(2), |it| {
        multiplies(it, "ext_host_calls_bls12_381_mul_g1_version_1", g1()).await;
    }
    ext_host_calls_bls12_381_mul_g2_version_1 -> Output::Written(2), |it| {
        multiplies(it, "ext_host_calls_bls12_381_mul_g2_version_1", g2()).await;
    }
    ext_host_calls_ed_on_bls12_381_bandersnatch_msm_version_1 -> Output::Written(2), |it| {
        sums(it, "ext_host_calls_ed_on_bls12_381_bandersnatch_msm_version_1", bandersnatch()).await;
    }
    ext_host_calls_ed_on_bls12_381_bandersnatch_mul_version_1 -> Output::Written(2), |it| {
        // Outside the group, this multiple has no affine coordinates.
        let outside = hex("5a1312770e4fb8da87cba77deca5a68f40a43669d174e7c49f8a95084a0a1927\
                           0200000000000000000000000000000000000000000000000000000000000000");
        let args = [slice(outside), slice(limbs(&bandersnatch().order)), room(64)];
        it.returns("a point outside the group", &args, DEGENERATE).await;
        multiplies(it, "ext_host_calls_ed_on_bls12_381_bandersnatch_mul_version_1", bandersnatch()).await;
    }
    ext_host_calls_pallas_msm_version_1 -> Output::Written(2), |it| {
        sums(it, "ext_host_calls_pallas_msm_version_1", pallas()).await;
    }
    ext_host_calls_pallas_mul_version_1 -> Output::Written(2), |it| {
        multiplies(it, "ext_host_calls_pallas_mul_version_1", pallas()).await;
    }
    ext_host_calls_vesta_msm_version_1 -> Output::Written(2), |it| {
        sums(it, "ext_host_calls_vesta_msm_version_1", vesta()).await;
    }
    ext_host_calls_vesta_mul_version_1 -> Output::Written(2), |it| {
        multiplies(it, "ext_host_calls_vesta_mul_version_1", vesta()).await;
    }
}
