#![cfg_attr(feature = "libfuzzer", no_main)]

kmswatch_fuzz::target!("rule", kmswatch_fuzz::surfaces::rule);
