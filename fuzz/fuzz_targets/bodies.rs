#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| s4_codec_fuzz::laws::apply("bodies", data));
