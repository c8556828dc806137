//! Operators of LibTorch that the tch crate leaves out, through `shim.cpp` and others beside it.
//!
//! As the tch crate's operators they panic with LibTorch's message when it refuses the tensors.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_void};
use std::marker::PhantomData;
use std::ptr;

use tch::Tensor as Native;
use torch_sys::C_tensor;

type Tensors = *const *const C_tensor;
/// What went wrong, or null.
pub(super) type Message = *const c_char;

unsafe extern "C" {
    fn visrl_below_autograd() -> *mut c_void;
    fn visrl_end_below_autograd(guard: *mut c_void);
    fn visrl_rms_norm(
        x: *const C_tensor,
        weight: *const C_tensor,
        epsilon: f64,
        keep: bool,
        out: *mut *mut C_tensor,
    ) -> Message;
    fn visrl_rms_norm_backward(
        grad: *const C_tensor,
        x: *const C_tensor,
        scale: *const C_tensor,
        weight: *const C_tensor,
        of_weight: bool,
        out: *mut *mut C_tensor,
    ) -> Message;
    fn visrl_layer_norm_backward(
        grad: *const C_tensor,
        x: *const C_tensor,
        mean: *const C_tensor,
        scale: *const C_tensor,
        weight: *const C_tensor,
        bias: *const C_tensor,
        wanted: *const bool,
        out: *mut *mut C_tensor,
    ) -> Message;
    fn visrl_efficient_attention_backward(
        grad: *const C_tensor,
        query: *const C_tensor,
        key: *const C_tensor,
        value: *const C_tensor,
        bias: *const C_tensor,
        result: *const C_tensor,
        log_sums: *const C_tensor,
        seed: *const C_tensor,
        offset: *const C_tensor,
        out: *mut *mut C_tensor,
    ) -> Message;
    fn visrl_flash_attention(
        query: *const C_tensor,
        key: *const C_tensor,
        value: *const C_tensor,
        out: *mut *mut C_tensor,
    ) -> Message;
    fn visrl_flash_attention_backward(
        grad: *const C_tensor,
        query: *const C_tensor,
        key: *const C_tensor,
        value: *const C_tensor,
        result: *const C_tensor,
        log_sums: *const C_tensor,
        seed: *const C_tensor,
        offset: *const C_tensor,
        out: *mut *mut C_tensor,
    ) -> Message;
    fn visrl_adamw(
        values: Tensors,
        gradients: Tensors,
        first: Tensors,
        second: Tensors,
        count: usize,
        time: *const C_tensor,
        rate: f64,
        beta_1: f64,
        beta_2: f64,
        decay: f64,
        epsilon: f64,
    ) -> Message;
    fn visrl_copy_all(to: Tensors, from: Tensors, count: usize) -> Message;
    fn visrl_scale_all(of: Tensors, count: usize, factor: f64) -> Message;
    fn visrl_norms(of: Tensors, count: usize, out: *mut *mut C_tensor) -> Message;
}

/// While it lives, LibTorch's operators on this thread do not look for what its own autograd would
/// record, which no tensor of burn asks of it.
pub(crate) struct BelowAutograd {
    guard: *mut c_void,
    /// It belongs to the thread that made it.
    thread: PhantomData<*const ()>,
}

impl BelowAutograd {
    pub(crate) fn new() -> Self {
        Self {
            // SAFETY: the function makes an object and gives it away.
            guard: unsafe { visrl_below_autograd() },
            thread: PhantomData,
        }
    }
}

impl Drop for BelowAutograd {
    fn drop(&mut self) {
        // SAFETY: the object was made by `new`, on this thread, and is given back once.
        unsafe { visrl_end_below_autograd(self.guard) }
    }
}

/// Panics with what went wrong, if anything.
pub(super) fn check(message: Message) {
    if !message.is_null() {
        // SAFETY: a message ends in 0 and lives until the thread's next call.
        let text = unsafe { CStr::from_ptr(message) };
        panic!("LibTorch: {}", text.to_string_lossy());
    }
}

/// The `N` results of a function that writes them; nothing in the place of those that it leaves out.
fn results<const N: usize>(
    function: impl FnOnce(*mut *mut C_tensor) -> Message,
) -> [Option<Native>; N] {
    let mut out = [ptr::null_mut(); N];
    check(function(out.as_mut_ptr()));
    // SAFETY: what was written are tensors made for us.
    out.map(|tensor| (!tensor.is_null()).then(|| unsafe { Native::from_ptr(tensor) }))
}

/// A result that an operator always writes.
pub(crate) fn written(result: Option<Native>) -> Native {
    result.unwrap_or_else(|| unreachable!("a result that LibTorch left out"))
}

fn pointers(of: &[&Native]) -> Vec<*const C_tensor> {
    of.iter().map(|tensor| tensor.as_ptr()).collect()
}

/// The RMS norm of rows, without a weight where there is none, and, where it is to be kept, one over the root mean square of each,
/// `[rows, 1]`.
pub(crate) fn rms_norm(
    x: &Native,
    weight: Option<&Native>,
    epsilon: f64,
    keep: bool,
) -> (Native, Option<Native>) {
    let weight = weight.map_or(ptr::null(), Native::as_ptr);
    // SAFETY: all pointers are of living tensors, or null for the weight; two results are written.
    let [y, scale] =
        results(|out| unsafe { visrl_rms_norm(x.as_ptr(), weight, epsilon, keep, out) });
    (written(y), scale)
}

/// The gradients of an RMS norm's rows and, where it is wanted, of its weight.
pub(crate) fn rms_norm_backward(
    grad: &Native,
    x: &Native,
    scale: &Native,
    weight: &Native,
    of_weight: bool,
) -> [Option<Native>; 2] {
    // SAFETY: all pointers are of living tensors; two results are written.
    results(|out| unsafe {
        visrl_rms_norm_backward(
            grad.as_ptr(),
            x.as_ptr(),
            scale.as_ptr(),
            weight.as_ptr(),
            of_weight,
            out,
        )
    })
}

/// The gradients of a layer norm's rows and, where they are wanted, of its weight and bias.
pub(crate) fn layer_norm_backward(
    grad: &Native,
    x: &Native,
    [mean, scale]: [&Native; 2],
    [weight, bias]: [&Native; 2],
    wanted: [bool; 2],
) -> [Option<Native>; 3] {
    // SAFETY: all pointers are of living tensors; three results are written.
    results(|out| unsafe {
        visrl_layer_norm_backward(
            grad.as_ptr(),
            x.as_ptr(),
            mean.as_ptr(),
            scale.as_ptr(),
            weight.as_ptr(),
            bias.as_ptr(),
            wanted.as_ptr(),
            out,
        )
    })
}

/// The gradients of queries, keys and values `[batch, heads, tokens, dim]` of LibTorch's
/// memory-efficient attention, from its result, log-sums and the two numbers of its dropout.
pub(crate) fn efficient_attention_backward(
    grad: &Native,
    [query, key, value]: [&Native; 3],
    bias: Option<&Native>,
    [result, log_sums, seed, offset]: [&Native; 4],
) -> [Option<Native>; 3] {
    // SAFETY: all pointers are of living tensors, or null for the bias; three results are written.
    results(|out| unsafe {
        visrl_efficient_attention_backward(
            grad.as_ptr(),
            query.as_ptr(),
            key.as_ptr(),
            value.as_ptr(),
            bias.map_or(ptr::null(), Native::as_ptr),
            result.as_ptr(),
            log_sums.as_ptr(),
            seed.as_ptr(),
            offset.as_ptr(),
            out,
        )
    })
}

/// CUDA's flash attention of queries, keys and values `[batch, heads, tokens, dim]` in bf16: the
/// result, log-sums and the two numbers of its dropout.
pub(crate) fn flash_attention([query, key, value]: [&Native; 3]) -> [Option<Native>; 4] {
    // SAFETY: all pointers are of living tensors; four results are written.
    results(|out| unsafe {
        visrl_flash_attention(query.as_ptr(), key.as_ptr(), value.as_ptr(), out)
    })
}

/// The gradients of queries, keys and values of [`flash_attention`], from what it gave.
pub(crate) fn flash_attention_backward(
    grad: &Native,
    [query, key, value]: [&Native; 3],
    [result, log_sums, seed, offset]: [&Native; 4],
) -> [Option<Native>; 3] {
    // SAFETY: all pointers are of living tensors; three results are written.
    results(|out| unsafe {
        visrl_flash_attention_backward(
            grad.as_ptr(),
            query.as_ptr(),
            key.as_ptr(),
            value.as_ptr(),
            result.as_ptr(),
            log_sums.as_ptr(),
            seed.as_ptr(),
            offset.as_ptr(),
            out,
        )
    })
}

/// The numbers of an AdamW step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AdamWNumbers {
    pub(crate) rate: f64,
    pub(crate) betas: [f64; 2],
    pub(crate) decay: f64,
    pub(crate) epsilon: f64,
}

/// Moves values and their two moments in place, all in f32; `time` is the number of the step, from 1.
pub(crate) fn adamw(
    [values, gradients, first, second]: [&[&Native]; 4],
    time: &Native,
    numbers: AdamWNumbers,
) {
    let [values, gradients, first, second] = [values, gradients, first, second].map(pointers);
    // SAFETY: four lists of as many living tensors; LibTorch checks their shapes.
    check(unsafe {
        visrl_adamw(
            values.as_ptr(),
            gradients.as_ptr(),
            first.as_ptr(),
            second.as_ptr(),
            values.len(),
            time.as_ptr(),
            numbers.rate,
            numbers.betas[0],
            numbers.betas[1],
            numbers.decay,
            numbers.epsilon,
        )
    });
}

/// Copies numbers of tensors to others of the same shapes, whose format they take.
pub(crate) fn copy_all(to: &[&Native], from: &[&Native]) {
    let (to, from) = (pointers(to), pointers(from));
    // SAFETY: two lists of living tensors; the shorter one ends both.
    check(unsafe { visrl_copy_all(to.as_ptr(), from.as_ptr(), to.len().min(from.len())) });
}

/// Multiplies all numbers of tensors in place.
pub(crate) fn scale_all(of: &[&Native], factor: f64) {
    let of = pointers(of);
    // SAFETY: a list of living tensors.
    check(unsafe { visrl_scale_all(of.as_ptr(), of.len(), factor) });
}

/// The Euclidean norm of each tensor, `[tensors]`, in f32, or in f64 where they are.
pub(crate) fn norms(of: &[&Native]) -> Option<Native> {
    let of = pointers(of);
    // SAFETY: a list of living tensors; one result is written.
    let [norms] = results(|out| unsafe { visrl_norms(of.as_ptr(), of.len(), out) });
    norms
}
