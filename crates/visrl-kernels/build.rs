//! Compiles what of LibTorch the tch crate does not reach.

fn main() {
    println!("cargo:rerun-if-changed=src/libtorch/shim.cpp");
    println!("cargo:rerun-if-changed=src/libtorch/record.cpp");
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
        .include(include)
        .flag("-D_GLIBCXX_USE_CXX11_ABI=1")
        // LibTorch is built so, and with it its structures are.
        .define("NDEBUG", None)
        .file("src/libtorch/shim.cpp")
        .file("src/libtorch/record.cpp")
        .compile("visrl_torch");
}
