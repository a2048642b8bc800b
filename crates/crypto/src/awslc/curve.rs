//! Diffie-Hellman on curves that `aws-lc-rs` has no agreement for: P-224, which AWS-LC knows by name, and any prime curve of
//! prime order by its numbers.
//!
//! AWS-LC multiplies in constant time on both, as long as the factor is below the order, which is checked here first.

use super::{Bn, Scratch, sys};
use std::ptr::NonNull;
use zeroize::Zeroizing;

/// The numbers of a curve y^2 = x^3 + ax + b, all at the length of its prime.
pub(crate) struct Parameters {
    pub(crate) prime: &'static [u8],
    pub(crate) a: &'static [u8],
    pub(crate) b: &'static [u8],
    /// The generator.
    pub(crate) x: &'static [u8],
    pub(crate) y: &'static [u8],
    /// Of the generator, prime and with a cofactor of one.
    pub(crate) order: &'static [u8],
}

/// An owned `EC_GROUP`.
struct Group(NonNull<sys::EC_GROUP>);

impl Drop for Group {
    fn drop(&mut self) {
        // SAFETY: the group came from AWS-LC and is freed only here; for its built-in groups, which are static, this does
        // nothing.
        unsafe { sys::EC_GROUP_free(self.0.as_ptr()) }
    }
}

/// An owned `EC_POINT`, wiped when dropped.
struct Point(NonNull<sys::EC_POINT>);

impl Point {
    fn new(group: &Group) -> Option<Self> {
        // SAFETY: the group is live and outlives the point, which is dropped in the function that made it; the result is
        // null or a fresh object that we own.
        NonNull::new(unsafe { sys::EC_POINT_new(group.0.as_ptr()) }).map(Self)
    }

    /// `None` if the coordinates are not below the prime or not on the curve.
    fn from_coordinates(group: &Group, x: &[u8], y: &[u8], scratch: &Scratch) -> Option<Self> {
        let (point, x, y) = (Self::new(group)?, Bn::from_octets(x)?, Bn::from_octets(y)?);
        // SAFETY: all five are live objects; the point is written and nobody else has it, the numbers are read only. AWS-LC
        // checks their range and the equation of the curve, and returns 0 where they do not hold.
        let done = unsafe {
            sys::EC_POINT_set_affine_coordinates_GFp(
                group.0.as_ptr(),
                point.0.as_ptr(),
                x.0.as_ptr(),
                y.0.as_ptr(),
                scratch.0.as_ptr(),
            )
        };
        (done == 1).then_some(point)
    }
}

impl Drop for Point {
    fn drop(&mut self) {
        // SAFETY: the point came from AWS-LC, is owned by us and freed only here.
        unsafe { sys::EC_POINT_clear_free(self.0.as_ptr()) }
    }
}

/// A curve, prepared.
pub(crate) struct PrimeCurve {
    group: Group,
    order: Vec<u8>,
    length: usize,
}

// SAFETY: after construction the group is not written (it is passed as a pointer to const), and AWS-LC keeps no thread-bound
// state in it, so it may be moved to and read from any thread.
unsafe impl Send for PrimeCurve {}
// SAFETY: as above: shared use is read-only.
unsafe impl Sync for PrimeCurve {}

impl PrimeCurve {
    /// P-224, for which AWS-LC has arithmetic of its own.
    pub(crate) fn p224() -> Option<Self> {
        // SAFETY: takes a number; the result is null or a pointer to a static group.
        let group = Group(NonNull::new(unsafe { sys::EC_GROUP_new_by_curve_name(sys::NID_secp224r1) })?);
        let mut order = vec![0; 28];
        // SAFETY: the group is live; the result points to a number that it owns, which is read before the group can go.
        let number = NonNull::new(unsafe { sys::EC_GROUP_get0_order(group.0.as_ptr()) }.cast_mut())?;
        // SAFETY: writes exactly `order.len()` octets; the number is live.
        let written = unsafe { sys::BN_bn2bin_padded(order.as_mut_ptr(), order.len(), number.as_ptr()) };
        (written == 1).then_some(Self { group, order, length: 28 })
    }

    /// A curve by its numbers. `None` if AWS-LC refuses them; whether they are a good curve it does not check.
    pub(crate) fn new(parameters: &Parameters) -> Option<Self> {
        let number = |octets| Bn::from_octets(octets);
        let (prime, a, b) = (number(parameters.prime)?, number(parameters.a)?, number(parameters.b)?);
        let (order, one, scratch) = (number(parameters.order)?, number(&[1])?, Scratch::new()?);
        // SAFETY: all four are live objects; the numbers are copied; the result is null or a fresh object that we own.
        let group =
            unsafe { sys::EC_GROUP_new_curve_GFp(prime.0.as_ptr(), a.0.as_ptr(), b.0.as_ptr(), scratch.0.as_ptr()) };
        let group = Group(NonNull::new(group)?);
        let generator = Point::from_coordinates(&group, parameters.x, parameters.y, &scratch)?;
        // SAFETY: all four are live objects; the group is written and nobody else has it yet, the others are copied.
        let done = unsafe {
            sys::EC_GROUP_set_generator(group.0.as_ptr(), generator.0.as_ptr(), order.0.as_ptr(), one.0.as_ptr())
        };
        let (order, length) = (parameters.order.to_vec(), parameters.prime.len());
        (done == 1).then_some(Self { group, order, length })
    }

    /// Octets of a coordinate, and of a private value.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// `x | y` of the generator times `factor`. `None` unless 0 < factor < order at full length.
    pub(crate) fn multiply_generator(&self, factor: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        self.multiply(None, factor)
    }

    /// `x | y` of the point `x | y` times `factor`. `None` if the point is not on the curve, or unless 0 < factor < order at
    /// full length.
    pub(crate) fn multiply_point(&self, point: &[u8], factor: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (x, y) = point.split_at_checked(self.length).filter(|(_, y)| y.len() == self.length)?;
        self.multiply(Some((x, y)), factor)
    }

    fn multiply(&self, point: Option<(&[u8], &[u8])>, factor: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        if !is_factor(factor, &self.order) {
            return None;
        }
        let scratch = Scratch::new()?;
        let (factor, result) = (Bn::from_octets(factor)?, Point::new(&self.group)?);
        let point = match point {
            Some((x, y)) => Some(Point::from_coordinates(&self.group, x, y, &scratch)?),
            None => None,
        };
        let (none, factor) = (std::ptr::null(), factor.0.as_ptr().cast_const());
        let (of_generator, point, of_point) = match &point {
            Some(point) => (none, point.0.as_ptr().cast_const(), factor),
            None => (factor, std::ptr::null(), none),
        };
        // SAFETY: what is not null is a live object; the result and the scratch space are written and nobody else has them.
        // Either a factor of the generator is given, or a point and its factor, as the function asks.
        let done = unsafe {
            sys::EC_POINT_mul(
                self.group.0.as_ptr(),
                result.0.as_ptr(),
                of_generator,
                point,
                of_point,
                scratch.0.as_ptr(),
            )
        };
        if done != 1 {
            return None;
        }
        let (x, y) = (Bn::zero()?, Bn::zero()?);
        // SAFETY: all five are live objects; the numbers are written and nobody else has them. AWS-LC returns 0 for the point
        // at infinity.
        let done = unsafe {
            sys::EC_POINT_get_affine_coordinates_GFp(
                self.group.0.as_ptr(),
                result.0.as_ptr(),
                x.0.as_ptr(),
                y.0.as_ptr(),
                scratch.0.as_ptr(),
            )
        };
        let mut out = Zeroizing::new(vec![0; 2 * self.length]);
        let (first, second) = out.split_at_mut(self.length);
        (done == 1 && x.write(first) && y.write(second)).then_some(out)
    }
}

/// Whether 0 < factor < order, both of the same length, in a time that depends on the length only.
pub(crate) fn is_factor(factor: &[u8], order: &[u8]) -> bool {
    let (mut borrow, mut any) = (0, 0);
    for (f, o) in factor.iter().zip(order).rev() {
        // Subtract with borrow; what is left over at the end says which one is less.
        borrow = (u16::from(*f).wrapping_sub(u16::from(*o)).wrapping_sub(borrow) >> 8) & 1;
        any |= *f;
    }
    factor.len() == order.len() && borrow == 1 && any != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_are_below_the_order_and_not_zero() {
        let order = [0x80, 0, 1];
        for (factor, expected) in [
            ([0, 0, 0], false),
            ([0, 0, 1], true),
            ([0x80, 0, 0], true),
            ([0x80, 0, 1], false),
            ([0x80, 0, 2], false),
            ([0x7F, 0xFF, 0xFF], true),
            ([0x80, 1, 0], false),
            ([0xFF, 0xFF, 0xFF], false),
        ] {
            assert_eq!(is_factor(&factor, &order), expected, "{factor:?}");
        }
        assert!(!is_factor(&[1, 0], &order) && !is_factor(&[0, 0, 0, 1], &order) && !is_factor(&[], &order));
    }

    #[test]
    fn what_is_no_curve_is_refused() {
        // y^2 = x^3 + 7 over the integers modulo 23 has no point (1, 2).
        let wrong = Parameters { prime: &[23], a: &[0], b: &[7], x: &[1], y: &[2], order: &[13] };
        assert!(PrimeCurve::new(&wrong).is_none());
    }

    #[test]
    fn one_times_a_point_is_the_point() {
        let curve = PrimeCurve::p224().unwrap();
        let factor = |number: u8| [vec![0; 27], vec![number]].concat();
        let generator = curve.multiply_generator(&factor(1)).unwrap();
        assert_eq!(curve.multiply_point(&generator, &factor(1)).unwrap(), generator);
        let six = curve.multiply_generator(&factor(6)).unwrap();
        let three = curve.multiply_generator(&factor(3)).unwrap();
        assert_eq!(curve.multiply_point(&three, &factor(2)).unwrap(), six);
        assert!(curve.multiply_point(&generator[1..], &factor(1)).is_none());
        assert!(curve.multiply_point(&generator, &factor(0)).is_none());
        let mut off = generator.to_vec();
        off[55] ^= 1;
        assert!(curve.multiply_point(&off, &factor(1)).is_none());
    }
}
