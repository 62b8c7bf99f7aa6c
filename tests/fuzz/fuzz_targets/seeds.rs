#![cfg_attr(feature = "libfuzzer", no_main)]

kmswatch_fuzz::target!("seeds", kmswatch_fuzz::surfaces::seeds);
