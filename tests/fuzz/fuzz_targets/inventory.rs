#![cfg_attr(feature = "libfuzzer", no_main)]

kmswatch_fuzz::target!("inventory", kmswatch_fuzz::surfaces::inventory);
