//! The relay chain's configuration of parachains (`Configuration.ActiveConfig`, `PendingConfigs`): its encoding in
//! storage, and its JSON in chain specifications.
//!
//! The relay chain promises the first fields only. What follows them differs between versions: the encoding is read if
//! it is one of the known ones to the last byte.

use super::snapshot::{Limits, Pending};
use parity_scale_codec::{Compact, Decode, Error};
use pvf_shared::params::ExecutorParams;
use serde_json::Value;

/// The configuration, as far as it matters to validation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostConfiguration {
    /// Sizes and counts.
    pub(crate) limits: Limits,
    /// Executor parameters of sessions that begin with it.
    pub(crate) executor_params: ExecutorParams,
}

/// The known encodings of what follows the executor parameters.
#[derive(Debug, Clone, Copy)]
struct Tail {
    /// The scheduler's parameters have the number of availability time-outs and the time to live.
    scheduler_has_timeouts: bool,
    /// The last field is the most sessions that a relay parent may be old.
    has_relay_parent_age: bool,
}

const TAILS: [Tail; 4] = [
    Tail { scheduler_has_timeouts: true, has_relay_parent_age: true },
    Tail { scheduler_has_timeouts: true, has_relay_parent_age: false },
    Tail { scheduler_has_timeouts: false, has_relay_parent_age: true },
    Tail { scheduler_has_timeouts: false, has_relay_parent_age: false },
];

impl HostConfiguration {
    /// Decodes the value of `ActiveConfig`.
    ///
    /// # Errors
    /// It is of no known version.
    pub(crate) fn from_scale(bytes: &[u8]) -> Result<Self, String> {
        in_known_version(bytes, Self::read)
    }

    /// Decodes the value of `PendingConfigs`.
    ///
    /// # Errors
    /// It is of no known version.
    pub(crate) fn pending_from_scale(bytes: &[u8]) -> Result<Vec<Pending>, String> {
        in_known_version(bytes, |input, tail| {
            let Compact(count) = Compact::<u32>::decode(input)?;
            let mut all = Vec::new();
            for _ in 0..count {
                let session = u32::decode(input)?;
                let Self { limits, executor_params } = Self::read(input, tail)?;
                all.push(Pending { session, limits, executor_params });
            }
            Ok(all)
        })
    }

    fn read(input: &mut &[u8], tail: Tail) -> Result<Self, Error> {
        let mut number = || u32::decode(input);
        let (max_code_size, max_head_data_size) = (number()?, number()?);
        let (_queue_count, _queue_size) = (number()?, number()?);
        let (max_upward_message_size, upward_count, horizontal_count) = (number()?, number()?, number()?);
        // Cooldown and delay of upgrades, and the two parameters of asynchronous backing.
        for _ in 0..4 {
            number()?;
        }
        let (max_pov_size, max_downward_message_size, _outbound_channels) = (number()?, number()?, number()?);
        <(u128, u128)>::decode(input)?;
        let mut number = || u32::decode(input);
        let (_capacity, _total_size, _inbound_channels, max_message_size) =
            (number()?, number()?, number()?, number()?);
        let executor_params = ExecutorParams::decode(input)?;
        tail.read(input)?;
        let limits = Limits {
            max_code_size: Some(max_code_size),
            validation_code_bomb_limit: Some(bomb_limit(max_code_size)),
            max_pov_size: Some(max_pov_size),
            max_head_data_size: Some(max_head_data_size),
            max_upward_message_size: Some(max_upward_message_size),
            max_upward_message_num_per_candidate: Some(upward_count),
            hrmp_max_message_num_per_candidate: Some(horizontal_count),
            hrmp_channel_max_message_size: Some(max_message_size),
            max_downward_message_size: Some(max_downward_message_size),
        };
        Ok(Self { limits, executor_params })
    }

    /// Reads the JSON of a chain specification.
    ///
    /// # Errors
    /// A field that is there has another type, or the executor parameters cannot be read.
    pub(crate) fn from_json(json: &Value) -> Result<Self, String> {
        let number = |name: &str| match json.get(name) {
            None => Ok(None),
            Some(value) => {
                let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
                number.map(Some).ok_or_else(|| format!("{name}: {value} is not a number of 32 bits"))
            }
        };
        let max_code_size = number("max_code_size")?;
        let limits = Limits {
            max_code_size,
            validation_code_bomb_limit: max_code_size.map(bomb_limit),
            max_pov_size: number("max_pov_size")?,
            max_head_data_size: number("max_head_data_size")?,
            max_upward_message_size: number("max_upward_message_size")?,
            max_upward_message_num_per_candidate: number("max_upward_message_num_per_candidate")?,
            hrmp_max_message_num_per_candidate: number("hrmp_max_message_num_per_candidate")?,
            hrmp_channel_max_message_size: number("hrmp_channel_max_message_size")?,
            max_downward_message_size: number("max_downward_message_size")?,
        };
        let executor_params = match json.get("executor_params") {
            None => ExecutorParams::default(),
            Some(params) => serde_json::from_value(params.clone()).map_err(|e| format!("executor_params: {e}"))?,
        };
        Ok(Self { limits, executor_params })
    }
}

/// The limit of decompressed code, as the relay chain derives it.
pub(super) fn bomb_limit(max_code_size: u32) -> u32 {
    max_code_size.saturating_mul(10)
}

impl Tail {
    fn read(self, input: &mut &[u8]) -> Result<(), Error> {
        let numbers = |input: &mut &[u8], count: usize| -> Result<(), Error> {
            (0..count).try_for_each(|_| u32::decode(input).map(drop))
        };
        // How long code is kept; the most validators.
        numbers(input, 1)?;
        Option::<u32>::decode(input)?;
        // Disputes, approvals, pre-checking, backing.
        numbers(input, 10)?;
        let Compact(bits) = Compact::<u32>::decode(input)?;
        let bytes = bits.div_ceil(8) as usize;
        *input = input.get(bytes..).ok_or("too short for its node features")?;
        // Coalesced approvals; rotation of groups, availability.
        numbers(input, 3)?;
        Option::<u32>::decode(input)?;
        numbers(input, 2)?;
        numbers(input, usize::from(self.scheduler_has_timeouts))?;
        // The queue of on-demand orders.
        numbers(input, 3)?;
        u128::decode(input)?;
        numbers(input, usize::from(self.scheduler_has_timeouts))?;
        numbers(input, usize::from(self.has_relay_parent_age))
    }
}

/// Decodes all of the bytes in the first version that fits.
fn in_known_version<T>(bytes: &[u8], read: impl Fn(&mut &[u8], Tail) -> Result<T, Error>) -> Result<T, String> {
    let decoded = TAILS.iter().find_map(|tail| {
        let mut rest = bytes;
        read(&mut rest, *tail).ok().filter(|_| rest.is_empty())
    });
    decoded.ok_or_else(|| format!("a configuration of {} bytes, of no version that is known here", bytes.len()))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use parity_scale_codec::Encode as _;
    use pvf_shared::params::ExecutorParam;
    use serde_json::json;

    /// The encoding of a configuration with these numbers, as a relay chain of today has it.
    pub(crate) fn encoded(max_code_size: u32, max_pov_size: u32, params: &ExecutorParams) -> Vec<u8> {
        of_tail(max_code_size, max_pov_size, params, TAILS[0])
    }

    fn of_tail(max_code_size: u32, max_pov_size: u32, params: &ExecutorParams, tail: Tail) -> Vec<u8> {
        let numbers = |numbers: &[u32]| numbers.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<_>>();
        let timeouts = usize::from(tail.scheduler_has_timeouts);
        [
            numbers(&[max_code_size, 20_480, 174_762, 1_048_576, 65_531, 16, 10, 14_400, 600, 3, 2]),
            numbers(&[max_pov_size, 51_200, 30]),
            (1_u128, 2_u128).encode(),
            numbers(&[1_000, 102_400, 30, 102_400]),
            params.encode(),
            numbers(&[600]),
            Some(1_000_u32).encode(),
            numbers(&[6, 100, 2, 89, 0, 30, 6, 2, 20, 2]),
            [Compact(9_u32).encode(), vec![0b1011, 1]].concat(),
            numbers(&[6, 10, 10]),
            None::<u32>.encode(),
            numbers(&[3, 100]),
            numbers(&[0][..timeouts]),
            numbers(&[500, 250_000_000, 30_000_000]),
            10_000_000_u128.encode(),
            numbers(&[5][..timeouts]),
            numbers(&[0][..usize::from(tail.has_relay_parent_age)]),
        ]
        .concat()
    }

    #[test]
    fn each_known_version_is_read_to_the_last_byte() {
        let params = ExecutorParams(vec![ExecutorParam::MaxMemoryPages(8192)]);
        for tail in TAILS {
            let bytes = of_tail(3 << 20, 10 << 20, &params, tail);
            let read = HostConfiguration::from_scale(&bytes).unwrap();
            assert_eq!((read.limits.max_code_size, read.limits.max_pov_size), (Some(3 << 20), Some(10 << 20)));
            assert_eq!(read.limits.validation_code_bomb_limit, Some(30 << 20));
            assert_eq!(read.limits.named().len(), 9);
            assert_eq!(read.executor_params, params);
            for end in 0..bytes.len() {
                let cut = HostConfiguration::from_scale(&bytes[..end]);
                // A field less at the end is another version.
                assert!(cut.is_err() || cut == Ok(read.clone()), "{tail:?}: {end} bytes");
            }
            assert!(HostConfiguration::from_scale(&[&bytes[..], &[0]].concat()).is_err());
        }
    }

    #[test]
    fn pending_configurations_are_read() {
        let config = encoded(5 << 20, 10 << 20, &ExecutorParams::default());
        let list = [Compact(2_u32).encode(), 7_u32.encode(), config.clone(), 9_u32.encode(), config].concat();
        let pending = HostConfiguration::pending_from_scale(&list).unwrap();
        assert_eq!(pending.iter().map(|of| of.session).collect::<Vec<_>>(), [7, 9]);
        assert_eq!(pending[1].limits.validation_code_bomb_limit, Some(50 << 20));
        assert_eq!(HostConfiguration::pending_from_scale(&[0]), Ok(vec![]));
    }

    #[test]
    fn the_json_of_a_chain_specification_is_read() {
        let json = json!({"max_code_size": 3_145_728, "max_pov_size": 5_242_880, "no_show_slots": 2,
            "executor_params": [{"PvfExecTimeout": ["Backing", 2500]}]});
        let read = HostConfiguration::from_json(&json).unwrap();
        assert_eq!((read.limits.max_pov_size, read.limits.max_head_data_size), (Some(5 << 20), None));
        assert_eq!(read.executor_params.0.len(), 1);
        let wrong = HostConfiguration::from_json(&json!({"max_pov_size": "5 MiB"}));
        assert!(wrong.unwrap_err().contains("max_pov_size"));
    }
}
