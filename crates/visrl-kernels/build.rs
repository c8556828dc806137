//! Compiles what of LibTorch the tch crate does not reach.

/// What is compiled, in `src/libtorch`.
const FILES: [&str; 5] = [
    "kernels.cpp",
    "memory.cpp",
    "record.cpp",
    "rms_norm.cpp",
    "shim.cpp",
];

fn main() {
    for name in FILES.iter().chain(&["guarded.h"]) {
        println!("cargo:rerun-if-changed=src/libtorch/{name}");
    }
    #[cfg(feature = "tch")]
    shim();
}

#[cfg(feature = "tch")]
fn shim() {
    // Where torch-sys found LibTorch; its headers lie beside its libraries.
    let Some(lib) = std::env::var_os("DEP_TCH_LIBTORCH_LIB") else {
        println!("cargo:warning=torch-sys does not say where LibTorch lies");
        return;
    };
    let include = std::path::Path::new(&lib).with_file_name("include");
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .pic(true)
        .warnings(false)
        .include(include.join("torch/csrc/api/include"))
        .include(include)
        .flag("-D_GLIBCXX_USE_CXX11_ABI=1")
        // LibTorch is built so, and with it its structures are.
        .define("NDEBUG", None)
        .files(FILES.map(|name| format!("src/libtorch/{name}")))
        .compile("visrl_torch");
}
