//! Enums whose numbers are in rows.

/// An enum of one byte, with the list of all of its variants: none can be forgotten there.
macro_rules! numbered {
    ($(#[$about:meta])* $visible:vis enum $name:ident { $($(#[$what:meta])* $variant:ident = $number:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        $visible enum $name {
            $($(#[$what])* $variant = $number,)+
        }

        impl $name {
            /// Every one, in the order above.
            #[allow(dead_code, reason = "some are wanted in tests alone")]
            $visible const ALL: &'static [Self] = &[$(Self::$variant),+];
        }
    };
}
