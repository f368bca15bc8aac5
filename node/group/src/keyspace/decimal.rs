//! Numbers as text: integers, and decimal addition for INCRBYFLOAT: exact where 17 fractional digits suffice, as Redis prints, else in binary.

use crate::ValueError;

const FRACTION_DIGITS: usize = 17;
const SCALE: i128 = 100_000_000_000_000_000;

/// The sum of two decimal numbers, without trailing zeros and without an exponent.
pub(super) fn add_decimal(left: &str, right: &str) -> Result<String, ValueError> {
    let left_binary = finite(left)?;
    let right_binary = finite(right)?;
    if let (Some(left), Some(right)) = (scaled(left), scaled(right))
        && let Some(sum) = left.checked_add(right)
    {
        return Ok(show(sum));
    }
    let sum = left_binary + right_binary;
    if sum.is_finite() { Ok(format!("{sum}")) } else { Err(ValueError::NotFinite) }
}

/// As Redis reads integers: no plus sign, no leading zeros, no spaces.
pub(crate) fn integer_of(text: &[u8]) -> Option<i64> {
    let number: i64 = str::from_utf8(text).ok()?.parse().ok()?;
    (number.to_string().as_bytes() == text).then_some(number)
}

fn finite(text: &str) -> Result<f64, ValueError> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        Ok(number) if number.is_infinite() => Err(ValueError::NotFinite),
        Ok(_) | Err(_) => Err(ValueError::NotFloat),
    }
}

/// The number times 10^17, when that is a whole number in range.
fn scaled(text: &str) -> Option<i128> {
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        None => (text, 0i32),
        Some(at) => (&text[..at], text[at + 1..].parse().ok()?),
    };
    let (negative, digits) = match mantissa.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, mantissa.strip_prefix('+').unwrap_or(mantissa)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let mut number: i128 = 0;
    for digit in whole.bytes().chain(fraction.bytes()) {
        let digit = i128::from(char::from(digit).to_digit(10)?);
        number = number.checked_mul(10)?.checked_add(digit)?;
    }
    let shift =
        i32::try_from(FRACTION_DIGITS).ok()? - i32::try_from(fraction.len()).ok()? + exponent;
    let number = if shift >= 0 {
        number.checked_mul(10i128.checked_pow(u32::try_from(shift).ok()?)?)?
    } else {
        let divisor = 10i128.checked_pow(u32::try_from(-shift).ok()?)?;
        if number % divisor != 0 {
            return None;
        }
        number / divisor
    };
    Some(if negative { -number } else { number })
}

fn show(scaled: i128) -> String {
    let sign = if scaled < 0 { "-" } else { "" };
    let magnitude = scaled.unsigned_abs();
    let scale = SCALE.unsigned_abs();
    let fraction = format!("{:017}", magnitude % scale);
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() {
        format!("{sign}{}", magnitude / scale)
    } else {
        format!("{sign}{}.{fraction}", magnitude / scale)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_exact_decimals() {
        assert_eq!(add_decimal("10.50", "0.1").unwrap(), "10.6");
        assert_eq!(add_decimal("0.1", "0.2").unwrap(), "0.3");
        assert_eq!(add_decimal("5.0e3", "2.0e2").unwrap(), "5200");
        assert_eq!(add_decimal("3", "-3").unwrap(), "0");
        assert_eq!(add_decimal("-1.5", "1").unwrap(), "-0.5");
        assert_eq!(add_decimal("1e30", "1").unwrap(), format!("{}", 1e30));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        assert_eq!(add_decimal("abc", "1"), Err(ValueError::NotFloat));
        assert_eq!(add_decimal("", "1"), Err(ValueError::NotFloat));
        assert_eq!(add_decimal("1", "nan"), Err(ValueError::NotFloat));
        assert_eq!(add_decimal("1.7e308", "1.7e308"), Err(ValueError::NotFinite));
    }
}
