#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| tripline::format::laws::json_equals_serde_json(text));
