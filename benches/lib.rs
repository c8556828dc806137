//! Benches of visrl: `cargo bench --bench loss`, `rollout`, `kernels`, `reward`, `data`, `images`.
