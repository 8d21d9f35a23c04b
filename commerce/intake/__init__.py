"""Take orders straight from shops: the signed webhooks that Shopify and WooCommerce send for each order."""
