//! Keyword arguments of a plan from anybody: a few scalars, borrowed, or an error.

use arbitrary::Result;

#[allow(dead_code, reason = "a part of the plugin's module")]
#[path = "../../src/polars/options.rs"]
mod options;

use options::PickledOptions;

pub fn law(data: &[u8]) -> Result<()> {
    let Ok(read) = PickledOptions::parse(data) else { return Ok(()) };
    assert_eq!(PickledOptions::parse(data).as_ref(), Ok(&read), "the same bytes, read again");
    let within = |part: &[u8]| {
        let (all, part) = (data.as_ptr_range(), part.as_ptr_range());
        assert!(part.is_empty() || all.start <= part.start && part.end <= all.end, "borrowed");
    };
    for name in ["codec", "level", "dictionary", "max_size", "utf8", "a"] {
        if let Ok(Some(text)) = read.text(name) {
            within(text.as_bytes());
        }
        if let Ok(Some(bytes)) = read.bytes(name) {
            within(bytes);
        }
        let types = [
            read.text(name).is_ok(),
            read.bytes(name).is_ok(),
            read.int(name).is_ok(),
            read.flag(name).is_ok(),
        ];
        let count = types.into_iter().filter(|&is_that| is_that).count();
        assert!(count == 1 || count == 4, "one type, or an argument that is not there");
    }
    let _others = read.only(&["codec"]);
    Ok(())
}
