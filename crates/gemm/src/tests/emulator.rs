//! AMX in software: the signal of an unknown instruction is caught, and the instruction done as Intel's manual has it.
//!
//! It knows the instructions that the kernels use, in the shapes they use: tiles of 16 rows of 64 bytes.
#![expect(unsafe_code, reason = "a handler of signals reads and writes a thread's registers and memory by address")]

use std::{cell::RefCell, sync::OnceLock};

const ROWS: usize = 16;
const ROW: usize = 64;

type TileBytes = [[u8; ROW]; ROWS];

thread_local! {
    /// A thread's tiles; none until they are configured.
    static TILES: RefCell<Option<Box<[TileBytes; 8]>>> = const { RefCell::new(None) };
}

/// Catches unknown instructions from now on.
pub(super) fn install() -> bool {
    static INSTALLED: OnceLock<bool> = OnceLock::new();
    *INSTALLED.get_or_init(|| {
        // SAFETY: a zeroed action is a valid one, and the handler has the signature that its flag asks for.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handle as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO;
            libc::sigaction(libc::SIGILL, &raw const action, std::ptr::null_mut()) == 0
        }
    })
}

/// A signal comes where an instruction of the kernel's `asm!` stands, never inside other code.
extern "C" fn handle(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel hands over this thread's registers, and the instruction can be read where it stands.
    unsafe {
        let registers = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs;
        let at = registers[libc::REG_RIP as usize] as *const u8;
        match execute(at, registers) {
            Some(length) => registers[libc::REG_RIP as usize] += length as i64,
            None => libc::abort(),
        }
    }
}

/// Does the instruction at `at` and returns its length; `None` where it is not one of AMX.
unsafe fn execute(at: *const u8, registers: &[i64]) -> Option<usize> {
    // SAFETY: instructions of at most 15 bytes; reads stop where the instruction does.
    unsafe {
        if *at != 0xc4 {
            return None;
        }
        let (one, two, code, modes) = (*at.add(1), *at.add(2), *at.add(3), *at.add(4));
        if one & 0x1f != 2 || two & 0x84 != 0 {
            return None;
        }
        // Stored upside down.
        let (high_index, high_base) = ((!one >> 6 & 1) << 3, (!one >> 5 & 1) << 3);
        let (prefix, third) = (two & 3, usize::from(!two >> 3 & 15));
        let (kind, reg, low) = (modes >> 6, usize::from(modes >> 3 & 7), modes & 7);
        if kind == 3 {
            match (code, prefix) {
                (0x49, 0) => TILES.set(None),
                (0x49, 3) => with(|tiles| tiles[reg] = [[0; ROW]; ROWS]),
                (0x5c, 2) => with(|tiles| halves(tiles, reg, usize::from(low), third)),
                (0x5e, 3) => with(|tiles| bytes(tiles, reg, usize::from(low), third)),
                _ => return None,
            }
            return Some(5);
        }
        let value = |number: u8| registers[general(number)] as usize;
        let (mut length, mut base, mut stride) = (5, usize::from(low | high_base), 0);
        if low == 4 {
            let sib = *at.add(5);
            length += 1;
            base = usize::from(sib & 7 | high_base);
            if sib >> 3 & 7 | high_index != 4 {
                stride = value(sib >> 3 & 7 | high_index) << (sib >> 6);
            }
        }
        let mut address = value(base as u8);
        match kind {
            1 => {
                address = address.wrapping_add_signed((*at.add(length)).cast_signed().into());
                length += 1;
            }
            2 => {
                let far = i32::from_le_bytes(std::array::from_fn(|i| *at.add(length + i)));
                address = address.wrapping_add_signed(far as isize);
                length += 4;
            }
            _ if base & 7 == 5 => return None,
            _ => {}
        }
        match (code, prefix) {
            (0x49, 0) => {
                let config = &*(address as *const [u8; 64]);
                let is_whole = (0..8).all(|i| config[48 + i] == 16 && config[16 + 2 * i] == 64);
                if config[0] != 1 || !is_whole {
                    return None;
                }
                TILES.set(Some(Box::new([[[0; ROW]; ROWS]; 8])));
            }
            (0x4b, 3) => with(|tiles| {
                for (i, row) in tiles[reg].iter_mut().enumerate() {
                    *row = *((address + i * stride) as *const [u8; ROW]);
                }
            }),
            (0x4b, 2) => with(|tiles| {
                for (i, row) in tiles[reg].iter().enumerate() {
                    *((address + i * stride) as *mut [u8; ROW]) = *row;
                }
            }),
            _ => return None,
        }
        Some(length)
    }
}

/// Where the kernel keeps a general register.
fn general(number: u8) -> usize {
    const ORDER: [libc::c_int; 16] = [
        libc::REG_RAX,
        libc::REG_RCX,
        libc::REG_RDX,
        libc::REG_RBX,
        libc::REG_RSP,
        libc::REG_RBP,
        libc::REG_RSI,
        libc::REG_RDI,
        libc::REG_R8,
        libc::REG_R9,
        libc::REG_R10,
        libc::REG_R11,
        libc::REG_R12,
        libc::REG_R13,
        libc::REG_R14,
        libc::REG_R15,
    ];
    ORDER[usize::from(number)] as usize
}

/// Tiles that were never configured end the process, as an unknown instruction would.
fn with(change: impl FnOnce(&mut [TileBytes; 8])) {
    TILES.with_borrow_mut(|tiles| match tiles {
        Some(tiles) => change(tiles),
        // SAFETY: it only ends.
        None => unsafe { libc::abort() },
    });
}

/// Denormals are zero, before and after.
fn flushed(x: f32) -> f32 {
    if x.is_subnormal() { 0.0_f32.copysign(x) } else { x }
}

fn half(row: &[u8; ROW], i: usize) -> f32 {
    flushed(f32::from_bits(u32::from(u16::from_le_bytes([row[2 * i], row[2 * i + 1]])) << 16))
}

/// TDPBF16PS: even and odd numbers apart, each added without rounding its product; then both to the sum.
fn halves(tiles: &mut [TileBytes; 8], to: usize, a: usize, b: usize) {
    for row in 0..ROWS {
        for column in 0..16 {
            let mut parts = [0.0_f32; 2];
            for k in 0..16 {
                for (odd, part) in parts.iter_mut().enumerate() {
                    let (x, w) = (half(&tiles[a][row], 2 * k + odd), half(&tiles[b][k], 2 * column + odd));
                    *part = flushed(x.mul_add(w, *part));
                }
            }
            let at = 4 * column;
            let old = f32::from_le_bytes(std::array::from_fn(|i| tiles[to][row][at + i]));
            let sum = flushed(flushed(old) + flushed(parts[0] + parts[1]));
            tiles[to][row][at..at + 4].copy_from_slice(&sum.to_le_bytes());
        }
    }
}

/// TDPBSSD: quads of signed bytes, exactly.
fn bytes(tiles: &mut [TileBytes; 8], to: usize, a: usize, b: usize) {
    for row in 0..ROWS {
        for column in 0..16 {
            let at = 4 * column;
            let mut sum = i32::from_le_bytes(std::array::from_fn(|i| tiles[to][row][at + i]));
            for k in 0..16 {
                for i in 0..4 {
                    let (x, w) = (tiles[a][row][4 * k + i].cast_signed(), tiles[b][k][at + i].cast_signed());
                    sum = sum.wrapping_add(i32::from(x) * i32::from(w));
                }
            }
            tiles[to][row][at..at + 4].copy_from_slice(&sum.to_le_bytes());
        }
    }
}
