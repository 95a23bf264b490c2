// CloudFront Function (cloudfront-js-2.0) on viewer requests: collapses Accept to what Safelight tells apart.
// The cache policy has Accept among its headers, or every client would get the first one's format.
var REFUSED = /;\s*q=0(\.0{0,3})?\s*(;|$)/;

function handler(event) {
  var request = event.request;
  var said = request.headers.accept ? request.headers.accept.value.toLowerCase() : '';
  var named = said
    .split(',')
    .map(function (item) {
      return item.trim();
    })
    .filter(function (item) {
      return !REFUSED.test(item);
    })
    .map(function (item) {
      return item.split(';')[0].trim();
    });
  var kept = ['image/avif', 'image/webp'].filter(function (type) {
    return named.indexOf(type) !== -1;
  });
  request.headers.accept = { value: kept.join(',') || '*/*' };
  return request;
}
