#![cfg_attr(feature = "libfuzzer", no_main)]

kmswatch_fuzz::target!("snapshot", kmswatch_fuzz::surfaces::snapshot);
