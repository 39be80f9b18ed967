//! Grants: what proves to a datanode that the namenode lets somebody read a chunk.
//!
//! The namenode has a key, made anew when it starts, which its datanodes learn when they register. A grant is a MAC of the chunk under that key; it comes with
//! the chunk's location, which only those get who may read the file. The datanode needs to ask nobody. A grant holds for as long as the namenode's process:
//! taking a right away keeps nobody from what they could read before, as with an open file.

use std::fmt;

use godfs_core::env::Env;
use godfs_core::{ChunkId, ClusterId};
use sha2::{Digest, Sha256};

/// Bytes of a key and of a grant.
const BYTES: usize = 32;
/// What SHA-256 works on at once.
const BLOCK: usize = 64;

/// The key of one life of a namenode.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct GrantKey([u8; BYTES]);

impl GrantKey {
    pub(crate) fn new(env: &Env) -> Self {
        let mut key = [0; BYTES];
        for part in key.chunks_exact_mut(8) {
            part.copy_from_slice(&env.random.next_u64().to_be_bytes());
        }
        Self(key)
    }

    /// As the wire has it; `None` for what is no key.
    pub(crate) fn from_wire(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub(crate) fn to_wire(&self) -> bytes::Bytes {
        bytes::Bytes::copy_from_slice(&self.0)
    }

    /// The grant for a chunk.
    pub(crate) fn grant(&self, cluster: ClusterId, chunk: ChunkId) -> [u8; BYTES] {
        hmac(&self.0, &[b"godfs read", cluster.as_bytes(), &chunk.get().to_be_bytes()])
    }

    /// Whether `grant` is the one for a chunk. Takes as long for a wrong one as for the right one.
    pub(crate) fn allows(&self, cluster: ClusterId, chunk: ChunkId, grant: &[u8]) -> bool {
        let right = self.grant(cluster, chunk);
        grant.len() == right.len() && right.iter().zip(grant).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
    }
}

/// Never the key itself.
impl fmt::Debug for GrantKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GrantKey")
    }
}

/// HMAC-SHA-256 (RFC 2104) under a key of at most a block.
fn hmac(key: &[u8], message: &[&[u8]]) -> [u8; BYTES] {
    let padded = |with: u8| {
        let mut block = [with; BLOCK];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        block
    };
    let mut inner = Sha256::new_with_prefix(padded(0x36));
    message.iter().for_each(|part| inner.update(part));
    Sha256::new_with_prefix(padded(0x5c)).chain_update(inner.finalize()).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        // RFC 4231, test cases 1 and 2.
        let hex = |bytes: [u8; BYTES]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let first = "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7";
        assert_eq!(hex(hmac(&[0x0b; 20], &[b"Hi There"])), first);
        let second = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hex(hmac(b"Jefe", &[b"what do ya want ", b"for nothing?"])), second);
    }

    #[test]
    fn a_grant_is_for_one_chunk_of_one_cluster_under_one_key() {
        let (one, other) = (GrantKey::new(&Env::simulated(1)), GrantKey::new(&Env::simulated(2)));
        let (cluster, chunk) = (ClusterId::from_random(1), ChunkId(7));
        let grant = one.grant(cluster, chunk);
        assert!(one.allows(cluster, chunk, &grant));
        assert!(!one.allows(cluster, ChunkId(8), &grant) && !other.allows(cluster, chunk, &grant));
        assert!(!one.allows(ClusterId::from_random(2), chunk, &grant));
        assert!(!one.allows(cluster, chunk, &grant[..31]) && !one.allows(cluster, chunk, &[]));
        assert_eq!(GrantKey::from_wire(&one.to_wire()), Some(one));
    }
}
