#![cfg_attr(feature = "libfuzzer", no_main)]

kmswatch_fuzz::target!("policy", kmswatch_fuzz::surfaces::policy);
