//! What a client is asked to prove its password with.

/// A nonce that no byte of ends a string early or needs escaping, as the servers make them.
pub fn fresh<const LEN: usize>() -> Result<[u8; LEN], getrandom::Error> {
    let mut nonce = [0; LEN];
    getrandom::fill(&mut nonce)?;
    for byte in &mut nonce {
        *byte &= 0x7f;
        if *byte == 0 || *byte == b'$' {
            *byte += 1;
        }
    }
    Ok(nonce)
}
