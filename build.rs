//! The shipped rules are part of the binary: a new rule file is a reason to build again.

fn main() {
    println!("cargo::rerun-if-changed=rules");
}
