#![cfg_attr(feature = "libfuzzer", no_main)]

kmswatch_fuzz::target!("record", kmswatch_fuzz::surfaces::record);
