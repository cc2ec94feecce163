#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| tripline::format::laws::any_text_is_decoded_or_refused(text));
