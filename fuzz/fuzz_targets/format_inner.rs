#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| tripline::format::laws::inner_records_are_bounded(text));
