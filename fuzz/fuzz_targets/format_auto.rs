#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| tripline::format::laws::auto_remembers_nothing(text));
