#![cfg_attr(feature = "libfuzzer", no_main)]

kmswatch_fuzz::target!("envelope", kmswatch_fuzz::surfaces::envelope);
