//! The arguments of a plugin call, as a plan from anybody may have them.

#[allow(dead_code)]
#[path = "../src/polars/options.rs"]
mod options;

use options::PickledOptions;
use proptest::prelude::*;

/// What Python 3.11 makes of `dict(codec="cpu-zstd", level=3, dictionary=b"\0\1", max_size=2**32,
/// least=-2**63, small=-2, wide=70000, utf8=True, null_on_error=False, again="cpu-zstd",
/// device=None)`, where the two names of the codec are one object.
const PICKLED: &[u8] = b"\x80\x05\x95\x9e\0\0\0\0\0\0\0}\x94(\x8c\x05codec\x94\x8c\x08cpu-zstd\x94\
    \x8c\x05level\x94K\x03\x8c\ndictionary\x94C\x02\0\x01\x94\x8c\x08max_size\x94\x8a\x05\0\0\0\0\
    \x01\x8c\x05least\x94\x8a\x08\0\0\0\0\0\0\0\x80\x8c\x05small\x94J\xfe\xff\xff\xff\x8c\x04wide\
    \x94Jp\x11\x01\0\x8c\x04utf8\x94\x88\x8c\rnull_on_error\x94\x89\x8c\x05again\x94h\x02\x8c\x06\
    device\x94Nu.";

fn fault(pickled: &[u8]) -> String {
    PickledOptions::parse(pickled).expect_err("is refused").0
}

#[test]
fn scalars_of_every_type_are_read() {
    let options = PickledOptions::parse(PICKLED).expect("a dict of scalars");
    assert_eq!(options.text("codec"), Ok(Some("cpu-zstd")));
    assert_eq!(options.text("again"), Ok(Some("cpu-zstd")), "by reference");
    assert_eq!(options.bytes("dictionary"), Ok(Some(&b"\0\x01"[..])));
    for (name, value) in
        [("level", 3), ("max_size", 1 << 32), ("least", i64::MIN), ("small", -2), ("wide", 70_000)]
    {
        assert_eq!(options.int(name), Ok(Some(value)), "{name}");
    }
    assert_eq!((options.flag("utf8"), options.flag("null_on_error")), (Ok(true), Ok(false)));
    assert_eq!(options.text("device"), Ok(None));
    assert_eq!((options.text("no"), options.flag("no")), (Ok(None), Ok(false)));
    let no_options = PickledOptions::parse(b"").expect("a call without arguments");
    assert_eq!(no_options.int("level"), Ok(None));
}

#[test]
fn arguments_of_other_types_and_names_are_refused() {
    let options = PickledOptions::parse(PICKLED).expect("a dict of scalars");
    assert!(options.int("codec").is_err());
    assert!(options.text("level").is_err());
    assert!(options.bytes("utf8").is_err());
    assert!(options.flag("dictionary").is_err());
    let fault = options.only(&["codec", "level"]).expect_err("has others").0;
    assert!(fault.contains("\"dictionary\" is not an option"), "{fault}");
}

#[test]
fn every_cut_is_refused() {
    for end in 1..PICKLED.len() {
        fault(&PICKLED[..end]);
    }
    fault(&[PICKLED, b"."].concat());
}

/// Opcodes that make a container of what is on the stack, or begin one.
#[test]
fn nothing_nests() {
    let deep = |opcode: u8| [&b"\x80\x05}"[..], &vec![opcode; 1_000_000], b"."].concat();
    for opcode in 0..=u8::MAX {
        fault(&deep(opcode));
        fault(&[&[opcode; 1_000_000][..], b"."].concat());
    }
    fault(&[&b"\x80\x02)"[..], &[0x85; 1_000_000], b"."].concat());
    // A dict as a value, by reference to itself.
    assert!(fault(b"\x80\x05}\x94\x8c\x01ah\0s.").contains("a dict inside a dict"));
    assert!(fault(b"\x80\x05}\x8c\x01a}s.").contains("unexpected opcode"));
}

#[test]
fn lengths_are_claims() {
    let most = u64::MAX.to_le_bytes();
    for (opcode, bytes) in [(0x8c, 1), (b'X', 4), (0x8d, 8), (b'C', 1), (b'B', 4), (0x8e, 8)] {
        let fault = fault(&[&b"\x80\x05}"[..], &[opcode], &most[..bytes], b"few"].concat());
        assert!(fault.contains("bytes, found 3"), "{opcode:#x}: {fault}");
    }
    assert!(fault(b"\x80\x05}\x8a\x09\0\0\0\0\0\0\0\0\0").contains("64 bits"));
}

#[test]
fn references_and_entries_are_bounded() {
    assert!(fault(b"\x80\x05}h\x05").contains("an object that does not exist"));
    let memos = [&b"\x80\x05}"[..], &[0x94; 1_000_000]].concat();
    assert!(fault(&memos).contains("unexpected opcode"));
    let entries = [&b"\x80\x05}"[..], &b"\x8c\x01aNs".repeat(1_000_000), b"."].concat();
    assert!(fault(&entries).contains("more than 64 entries"));
    let values = [&b"\x80\x05}("[..], &b"N".repeat(1_000_000), b"u."].concat();
    assert!(fault(&values).contains("64 scalars"));
    // A billion laughs need values that hold others; here a reference is a borrowed string.
    let laugh =
        [&b"\x80\x05}\x8c\x01a\x94X\0\0\x10\0"[..], &vec![b'x'; 1 << 20], b"\x94s"].concat();
    let laughs = [&laugh[..], &b"h\x00h\x01s".repeat(60), b"."].concat();
    let options = PickledOptions::parse(&laughs).expect("one string, sixty names");
    assert_eq!(options.text("a").map(|text| text.map(str::len)), Ok(Some(1 << 20)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100_000))]

    /// Arguments or an error, and never more than there is.
    #[test]
    fn any_damage_is_survived(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
    ) {
        let mut pickled = PICKLED.to_vec();
        for (at, byte) in damage {
            let at = at.index(pickled.len());
            pickled[at] = byte;
        }
        if is_cut {
            pickled.truncate(cut.index(pickled.len()));
        }
        let _ = PickledOptions::parse(&pickled);
    }

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = PickledOptions::parse(&bytes);
    }

    /// Opcodes rather than bytes, so that more of them make sense.
    #[test]
    fn any_opcodes_are_survived(
        opcodes in proptest::collection::vec(prop::sample::select(vec![
            &b"N"[..], b"}", b"(", b"s", b"u", b".", b"\x94", b"h\0", b"h\x01", b"j\0\0\0\0", b"K\x07",
            b"\x8c\x01a", b"\x8c\x05level", b"C\x02ab", b"\x88", b"\x80\x05", b"\x95\0\0\0\0\0\0\0\0",
            b"]", b")", b"\x85", b"a", b"e", b"R", b"b", b"0", b"2", b"\x8a\x00",
        ]), 0..30)
    ) {
        let _ = PickledOptions::parse(&opcodes.concat());
    }
}
